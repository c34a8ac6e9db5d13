"""TFDS builders of the known suites and of any real/fake folder, from files that the user has ("manual" data to TFDS).

They write the original bytes of the files to ArrayRecord files, in the order of the folder. Importing this module
registers them, so that `tfds.data_source("forensynths", ...)` finds prepared data.

They are ShardBasedBuilders because TFDS's GeneratorBasedBuilder sorts what it writes, for which it needs TensorFlow
above 1 GB, and when told to keep the order holds a whole split in memory.
"""

import functools
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, file_adapters, splits, writer

from lfm_jax.data import suites
from lfm_jax.data.images import ImageError, read
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.prepare.beam import Beam, answers
from lfm_jax.data.prepare.layout import GENERIC, VERSION, find_parts
from lfm_jax.data.prepare.manifest import Range, write_manifest
from lfm_jax.data.prepare.verify import ChangedFileError, Contents, verify_part
from lfm_jax.data.sources.records import FIELDS, Facts
from lfm_jax.runtime.paths import replacing
from lfm_jax.runtime.progress import progress

SHARD_BYTES = 1 << 28  # of images; TFDS keeps the shard that is being written in memory
AHEAD = 64  # files that are read and hashed before they are written

KeyExample = tuple[int, dict[str, Any]]
Files = Sequence[tuple[Path, Facts]]


class RealFake(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Real and fake images with the fields of `records.Facts`, and `image`, the unchanged bytes of the file."""

    VERSION = tfds.core.Version(VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir: the folder that holds the data set, as lfm data prepare takes it."

    contents: Mapping[str, Contents] | None = None  # split -> what to write; None to find and verify it in manual_dir
    threads = 8  # that read the files

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Real and AI-generated images, as the bytes of their files.",
            features=record_features(),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[KeyExample]]]]:
        def examples(split: str, files: Files) -> Iterator[KeyExample]:
            records = examples_of(files, threads=self.threads)
            return progress(records, total=len(files), what=f"write {self.name}/{split}")

        return {
            split: [functools.partial(examples, split, files) for files in split_into_shards(verified.files)]
            for split, verified in self._verified(dl_manager).items()
        }

    def _download_and_prepare(
        self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig | None = None
    ) -> None:
        """As TFDS does it, except on Beam.

        There TFDS makes a branch of the pipeline for every shard, which Beam's own runner takes one after the other, and
        confuses the lengths of more than ten shards: it sorts their numbers as text.
        """
        if download_config is None or not (download_config.beam_runner or download_config.beam_options):
            super()._download_and_prepare(dl_manager, download_config)
            return
        beam = Beam(download_config.beam_options, download_config.beam_runner)
        with tempfile.TemporaryDirectory(dir=self.data_dir) as folder:
            infos = _write_on_beam(self, self._verified(dl_manager), beam, Path(folder))
        self.info.set_splits(splits.SplitDict(infos))

    def _verified(self, dl_manager: tfds.download.DownloadManager) -> Mapping[str, Contents]:
        if self.contents is not None:
            return self.contents
        return {part.split: verify_part(part) for part in find_parts(Path(dl_manager.manual_dir), suite=self.name)}


def record_features() -> tfds.features.FeaturesDict:
    text, number = tfds.features.Scalar(np.object_), tfds.features.Scalar(np.int64)
    features: dict[str, Any] = {name: text if kind is str else number for name, kind in FIELDS.items()}
    return tfds.features.FeaturesDict({**features, "image": text, "label": tfds.features.ClassLabel(names=["real", "fake"])})


def _write_on_beam(builder: RealFake, contents: Mapping[str, Contents], beam: Beam, folder: Path) -> list[splits.SplitInfo]:
    """Writes all shards of all splits in one pipeline. Raises ChangedFileError as `examples_of` does."""
    paths, tasks = {}, []
    for split, verified in contents.items():
        shards = split_into_shards(verified.files)
        ranges = write_manifest(folder / split, ([(str(file), asdict(facts)) for file, facts in files] for files in shards))
        names = builder._get_filename_template(split_name=split)
        paths[split] = [names.sharded_filepath(shard_index=index, num_shards=len(shards)) for index in range(len(shards))]
        tasks += [(str(path), builder.info.file_format.value, part) for path, part in zip(paths[split], ranges, strict=True)]
    beam.run(write_shard, tasks, folder / "answers")
    written = list(answers(folder / "answers"))
    for answer in written:
        if "changed" in answer:
            raise ChangedFileError(Path(answer["changed"]))
    lengths = iter(answer["records"] for answer in written)
    return [
        splits.SplitInfo(
            name=split,
            shard_lengths=[next(lengths) for _ in paths[split]],
            num_bytes=sum(path.stat().length for path in paths[split]),
            filename_template=builder._get_filename_template(split_name=split),
        )
        for split in contents
    ]


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


def examples_of(files: Files, *, threads: int) -> Iterator[KeyExample]:
    """The records of a shard, whose files are read and hashed in `threads` threads.

    Raises:
      ChangedFileError: a file is not what it was when it was verified.
    """

    def checked(place: int) -> bytes:
        file, facts = files[place]
        try:
            data = read(file)
        except ImageError:
            raise ChangedFileError(file) from None
        if hashlib.sha256(data).hexdigest() != facts.sha256:
            raise ChangedFileError(file)
        return data

    contents = read_ahead(checked, len(files), threads=threads, ahead=AHEAD if threads else 0)
    for key, (data, (_, facts)) in enumerate(zip(contents, files, strict=True)):
        yield key, {"image": data, **facts.encode()}


def write_shard(task: tuple[str, str, Range]) -> dict[str, Any]:
    """What a worker of Beam does: it writes one shard, and answers with the number of its records or the file that changed."""
    path, file_format, manifest = task
    files = [(Path(file), Facts(**facts)) for file, facts in manifest.rows()]
    features = record_features()
    shard = writer.ShardWriter(
        features=features,
        serializer=example_serializer.ExampleSerializer(features.get_serialized_info()),
        example_writer=writer.ExampleWriter(file_adapters.FileFormat(file_format)),
    )
    try:
        with replacing(Path(path), several_writers=True) as partial:  # a runner may try a task twice
            return {"records": shard.write(examples_of(files, threads=0), tfds.core.Path(partial))}
    except ChangedFileError as error:
        return {"changed": str(error.file)}


BUILDERS: Mapping[str, type[RealFake]] = {
    name: type(name, (RealFake,), {"name": name}) for name in (*(suite.dataset for suite in suites.SUITES), GENERIC)
}
