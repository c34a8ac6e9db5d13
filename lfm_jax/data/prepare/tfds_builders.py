"""TFDS builders of the known suites and of any real/fake folder, from files that users have (TFDS: manual data).

In: what `verify` found, or TFDS's manual_dir. Out: ArrayRecord files of the original bytes, in the folder's order.
Importing this registers them, so that `tfds.data_source("forensynths", ...)` and the like find prepared data.
They build by shards, since TFDS's GeneratorBasedBuilder sorts what it writes: it needs TensorFlow for that above
1 GB, and with the order kept holds a whole split in memory.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from lfm_jax.data import suites
from lfm_jax.data.images import ImageError, read
from lfm_jax.data.prepare.layout import GENERIC, find_parts
from lfm_jax.data.prepare.verify import Contents, verify
from lfm_jax.data.sources.records import FIELDS, Facts
from lfm_jax.errors import DataError
from lfm_jax.runtime.progress import progress

VERSION = "1.0.0"
SHARD_BYTES = 1 << 28  # of images; TFDS keeps those of the shard being written in memory

KeyExample = tuple[int, dict[str, Any]]


class ChangedError(DataError):
    """A file is not what it was when it was verified; `file` says which."""

    def __init__(self, file: Path):
        super().__init__(f"{file} changed while it was being prepared: run the same command again")
        self.file = file


class RealFake(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Real and fake images with the fields of `records.Facts` and `image`, the file's bytes as they are."""

    VERSION = tfds.core.Version(VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir: the folder that holds the data set, as lfm data prepare takes it."

    contents: Mapping[str, Contents] | None = None  # split -> what to write; None looks into manual_dir

    def _info(self) -> tfds.core.DatasetInfo:
        text, number = tfds.features.Scalar(np.object_), tfds.features.Scalar(np.int64)
        features: dict[str, Any] = {name: text if kind is str else number for name, kind in FIELDS.items()}
        features |= {"image": text, "label": tfds.features.ClassLabel(names=["real", "fake"])}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Real and AI-generated images, as the bytes of their files.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[KeyExample]]]]:
        contents = self.contents if self.contents is not None else self._look(Path(dl_manager.manual_dir))
        return {split: [_writer(self.name, split, shard) for shard in shards(found.files)] for split, found in contents.items()}

    def _look(self, root: Path) -> dict[str, Contents]:
        return {part.split: verify(part) for part in find_parts(root, suite=self.name)}


def shards(files: Sequence[tuple[Path, Facts]]) -> list[list[tuple[Path, Facts]]]:
    """Files -> runs of them of about SHARD_BYTES."""
    runs: list[list[tuple[Path, Facts]]] = [[]]
    held = 0
    for file, facts in files:
        if held and held + facts.size > SHARD_BYTES:
            runs.append([])
            held = 0
        runs[-1].append((file, facts))
        held += facts.size
    return runs


def _writer(name: str, split: str, files: Sequence[tuple[Path, Facts]]) -> Callable[[], Iterator[KeyExample]]:
    def examples() -> Iterator[KeyExample]:
        for key, (file, facts) in enumerate(progress(files, total=len(files), what=f"write {name}/{split}")):
            try:
                data = read(file)
            except ImageError:
                raise ChangedError(file) from None
            if hashlib.sha256(data).hexdigest() != facts.sha256:
                raise ChangedError(file)
            yield key, {"image": data, **facts.encode()}

    return examples


BUILDERS: Mapping[str, type[RealFake]] = {
    name: type(name, (RealFake,), {"name": name}) for name in (*(suite.dataset for suite in suites.SUITES), GENERIC)
}
