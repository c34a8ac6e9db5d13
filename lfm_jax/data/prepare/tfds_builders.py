"""TFDS builders of the known suites and of any real/fake folder, from files that the user has ("manual" data to TFDS).

They write the original bytes of the files to ArrayRecord files, in the order of the folder. Importing this module
registers them, so that `tfds.data_source("forensynths", ...)` finds prepared data.

They are ShardBasedBuilders because TFDS's GeneratorBasedBuilder sorts what it writes, for which it needs TensorFlow
above 1 GB, and when told to keep the order holds a whole split in memory.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from lfm_jax.data import suites
from lfm_jax.data.images import ImageError, read
from lfm_jax.data.prepare.layout import GENERIC, VERSION, find_parts
from lfm_jax.data.prepare.verify import ChangedFileError, Contents, verify_part
from lfm_jax.data.sources.records import FIELDS, Facts
from lfm_jax.runtime.progress import progress

SHARD_BYTES = 1 << 28  # of images; TFDS keeps the shard that is being written in memory

KeyExample = tuple[int, dict[str, Any]]


class RealFake(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Real and fake images with the fields of `records.Facts`, and `image`, the unchanged bytes of the file."""

    VERSION = tfds.core.Version(VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir: the folder that holds the data set, as lfm data prepare takes it."

    contents: Mapping[str, Contents] | None = None  # split -> what to write; None to find and verify it in manual_dir

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
        contents = self.contents if self.contents is not None else self._verify(Path(dl_manager.manual_dir))
        return {
            split: [_shard_writer(self.name, split, files) for files in split_into_shards(verified.files)]
            for split, verified in contents.items()
        }

    def _verify(self, root: Path) -> dict[str, Contents]:
        return {part.split: verify_part(part) for part in find_parts(root, suite=self.name)}


def split_into_shards(files: Sequence[tuple[Path, Facts]]) -> list[list[tuple[Path, Facts]]]:
    """Cuts files, in their order, into shards of about SHARD_BYTES."""
    shards: list[list[tuple[Path, Facts]]] = [[]]
    size = 0
    for file, facts in files:
        if size and size + facts.size > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((file, facts))
        size += facts.size
    return shards


def _shard_writer(name: str, split: str, files: Sequence[tuple[Path, Facts]]) -> Callable[[], Iterator[KeyExample]]:
    def examples() -> Iterator[KeyExample]:
        for key, (file, facts) in enumerate(progress(files, total=len(files), what=f"write {name}/{split}")):
            try:
                data = read(file)
            except ImageError:
                raise ChangedFileError(file) from None
            if hashlib.sha256(data).hexdigest() != facts.sha256:
                raise ChangedFileError(file)
            yield key, {"image": data, **facts.encode()}

    return examples


BUILDERS: Mapping[str, type[RealFake]] = {
    name: type(name, (RealFake,), {"name": name}) for name in (*(suite.dataset for suite in suites.SUITES), GENERIC)
}
