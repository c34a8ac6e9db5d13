"""Prepared data sets: images in ArrayRecord files, as `lfm data prepare` or a TFDS builder wrote them.

Example i of a split is example i of the folder it was made from. What is known of each image is also in a small index
beside the records, so that opening a split reads no image.
"""

import hashlib
import json
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from lfm_jax.data.images import ImageError, decode_bytes
from lfm_jax.data.sources.base import Example, MissingSplitError, folders_above_label
from lfm_jax.data.sources.columns import Columns
from lfm_jax.data.sources.index import ChosenExamples, Examples
from lfm_jax.data.sources.joined import JoinedSource
from lfm_jax.errors import DataError, first_line
from lfm_jax.runtime.open_files import allow_open_files
from lfm_jax.runtime.paths import expanded

T = TypeVar("T")
DIGEST_BYTES = 32


class DamagedDataError(DataError):
    """What was prepared is not as it was written; the message says which file."""


@dataclass(frozen=True)
class Facts:
    """What a record holds beside the image: its origin, its label, and how the file was.

    Attributes:
      path: relative to the folder of the split.
      label: 0 real, 1 fake.
      suite, generator: as in `Example`.
      class_name: the folders between the generator and the label.
      sha256, size: of the file; the size is in bytes.
      width, height: in pixels.
      container: the file's format, by PIL's name for it.
    """

    path: str
    label: int
    suite: str
    generator: str
    class_name: str
    sha256: str
    size: int
    width: int
    height: int
    container: str

    def example(self) -> Example:
        return Example(self.path, self.label, self.suite, self.generator)

    def encode(self) -> dict[str, Any]:
        """The fields of a record: text as bytes, since file names need not be UTF-8."""
        return {name: os.fsencode(value) if isinstance(value, str) else value for name, value in vars(self).items()}

    @classmethod
    def decode(cls, record: Mapping[str, Any]) -> "Facts":
        """Reads the fields of a record."""
        values: dict[str, Any] = {name: os.fsdecode(record[name]) if FIELDS[name] is str else int(record[name]) for name in FIELDS}
        return cls(**values)


FIELDS: Mapping[str, Any] = {field.name: field.type for field in fields(Facts)}  # to str or int


def parse_line(kind: type[T], line: bytes) -> T:
    """Reads a dataclass of strings and numbers from a line of JSON. Raises ValueError if it is anything else."""
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    try:
        values = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict) or {name: type(value) for name, value in values.items()} != types:
        raise ValueError(f"expected the fields {', '.join(types)}")
    if any(not -(1 << 63) <= value < 1 << 63 for value in values.values() if type(value) is int):
        raise ValueError("a number of more than 64 bits")
    return kind(**values)


class Records(Protocol):
    """Random access to records with the fields of `Facts` and `image`, the bytes of the file. TFDS's data sources have it."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class TfdsRecords:
    """The records of a split, read through TFDS's data source but parsed here: TFDS takes ten times as long to parse one."""

    def __init__(self, folder: Path, split: str):
        import tensorflow_datasets as tfds

        builder = _builder(folder)
        with _named(folder):
            allow_open_files(len(builder.info.splits[split].shard_lengths))
            self._encoded = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        from tensorflow_datasets.proto import tf_example_pb2  # not stored in self, as a module cannot be pickled

        features = tf_example_pb2.Example.FromString(self._encoded[index]).features.feature
        return {name: getattr(field, field.WhichOneof("kind")).value[0] for name, field in features.items()}


class RecordSource:
    """A source over any `Records`, such as a split opened with TFDS:

        RecordSource(tfds.data_source("forensynths", split="val", data_dir=OUT), name="val")

    Args:
      records: the records.
      facts: of every record, from an index; without them each record is read once. A record that is read is compared.
      name: what reports call the source.
      places: which records are examples, and in what order; all of them if None.
    """

    def __init__(self, records: Records, facts: Iterable[Facts] | None = None, *, name: str, places: Sequence[int] | None = None):
        self.name, self._records, digests = name, records, bytearray()

        def noted() -> Iterator[Example]:
            for one in _facts_of(records, name) if facts is None else facts:
                digests.extend(_digest(one.sha256))
                yield one.example()

        self.examples: Sequence[Example] = Examples(noted())
        self._columns = Columns(digests=np.frombuffer(bytes(digests), np.uint8))
        self.places: Sequence[int] = range(len(self.examples))
        if places is not None:
            self.choose(places)

    def choose(self, places: Iterable[int]) -> None:
        """Leaves only the examples at these places."""
        chosen = ChosenExamples(self.examples, places)
        self.examples, self.places = chosen, chosen.places

    def image(self, index: int) -> Image.Image:
        return decode_bytes(self.encoded(index))

    def encoded(self, index: int) -> bytes:
        """The file of `examples[index]`.

        Raises:
          ImageError: the record cannot be read.
          DataError: it is another one than the index says.
        """
        place = self.places[index]
        try:
            record = self._records[place]
            facts, data = Facts.decode(record), bytes(record["image"])
        except Exception as error:  # damaged records raise almost anything; one of them must not end a run
            raise ImageError(f"record {place} of {self.name} cannot be read: {first_line(error)}") from None
        if facts.example() != self.examples[index] or _digest(facts.sha256).hex() != self.content_hash(index):
            raise DataError(
                f"record {place} of {self.name} is {facts.path} with label {facts.label}, its index says "
                f"{self.examples[index].path} with label {self.examples[index].label}: prepare the data again"
            )
        if len(data) != facts.size:
            raise ImageError(f"record {place} of {self.name} has {len(data)} bytes of an image of {facts.size}")
        return data

    def content_hash(self, index: int) -> str:
        start = DIGEST_BYTES * self.places[index]
        return self._columns["digests"][start : start + DIGEST_BYTES].tobytes().hex()


def find_prepared(root: str | os.PathLike[str]) -> dict[str, Path]:
    """The prepared data sets of a folder: name -> folder of the version.

    `root` may be the folder given to `lfm data prepare`, the folder of one data set in it, or the version below that.
    """
    for pattern in ("dataset_info.json", "*/dataset_info.json", "*/*/dataset_info.json"):
        folders = sorted(path.parent for path in expanded(root).absolute().glob(pattern))
        versions = {folder.parent.name: folder for folder in folders if re.fullmatch(r"\d+\.\d+\.\d+", folder.name)}
        if versions:
            return versions
    return {}


def find_one_prepared(root: str | os.PathLike[str], name: str = "") -> Path:
    """The folder of the prepared data set `name`, or of the only one in `root`. Raises DataError, listing those it found."""
    prepared = find_prepared(root)
    if not prepared:
        raise DataError(f"no prepared data in {root}: expected the folder given to lfm data prepare, or a data set in it")
    if not name and len(prepared) == 1:
        return next(iter(prepared.values()))
    if name not in prepared:
        raise DataError(f"config.data.name = {name!r}: the prepared data sets in {root} are {', '.join(prepared)}")
    return prepared[name]


def splits_of(folder: Path) -> tuple[str, ...]:
    """The splits of the prepared data set in `folder`. Raises DataError if its description cannot be read."""
    builder = _builder(folder)
    with _named(folder):
        return tuple(builder.info.splits)


def open_prepared_split(root: str | os.PathLike[str], name: str, split: str, *, classes: Sequence[str] = ()) -> RecordSource:
    """Opens a split of the prepared data set `name` in `root`; with `classes`, only what lies in folders of those names.

    Raises:
      DataError: there is no such data set, split or class, or the index is not that of the records.
    """
    folder = find_one_prepared(root, name)
    if split not in splits_of(folder):
        raise MissingSplitError(f"{folder.parent} has no split {split}: there are {', '.join(splits_of(folder))}")
    records = TfdsRecords(folder, split)
    source = RecordSource(records, indexed(folder, split), name=f"{folder.parent.name}/{split}")
    count = len(source.examples)
    if count != len(records):
        raise DataError(
            f"{index_file(folder, split)} lists {count} images, the records hold {len(records)}: prepare the data again"
        )
    if classes:
        _choose_classes(source, set(classes), f"{folder} {split}")
    return source


def _choose_classes(source: RecordSource, classes: set[str], where: str) -> None:
    folders, last, places = set[str](), set[str](), array("I")
    for place, example in enumerate(source.examples):
        if above := folders_above_label(example.path):
            folders.update(above)
            last.add(above[-1])
            if classes & set(above):
                places.append(place)
    if unknown := classes - folders:
        raise DataError(f"no class {', '.join(sorted(unknown))} in {where}: there are {', '.join(sorted(last))}")
    source.choose(places)


def open_prepared(root: str | os.PathLike[str], split: str) -> JoinedSource:
    """Opens a split of every prepared data set in `root` that has it, as one source with parts named DATASET/SPLIT.

    Raises:
      DataError: none of them has that split.
    """
    prepared = find_prepared(root)
    sources = [open_prepared_split(folder, "", split) for folder in prepared.values() if split in splits_of(folder)]
    if not sources:
        raise DataError(f"no {split} split in the prepared data of {root}: there are {', '.join(prepared)}")
    return JoinedSource(sources, name=f"{root} ({split})")


def index_file(folder: Path, split: str) -> Path:
    return folder / f"index_{split}.jsonl"


def write_index(folder: Path, split: str, facts: Iterable[Facts]) -> None:
    """Writes the facts of every record, one line each, in the order of the records."""
    index_file(folder, split).write_text("".join(json.dumps(asdict(fact)) + "\n" for fact in facts))


def read_index(folder: Path, split: str) -> list[Facts] | None:
    """Reads what `write_index` wrote; None if there is no index, as after `tfds build`. Raises DamagedDataError."""
    facts = indexed(folder, split)
    return None if facts is None else list(facts)


def indexed(folder: Path, split: str) -> Iterator[Facts] | None:
    """`read_index`, one after another."""
    file = index_file(folder, split)
    return _indexed(file) if file.exists() else None


def _indexed(file: Path) -> Iterator[Facts]:
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                facts = parse_line(Facts, line)
                if facts.label not in (0, 1):
                    raise ValueError(f"label {facts.label}, expected 0 or 1")
            except ValueError as error:
                reason = first_line(error)
                raise DamagedDataError(f"{file} is damaged in line {number} ({reason}): prepare the data again") from None
            yield facts


def _digest(sha256: str) -> bytes:
    """A hash in half its length; of any other text, as a damaged index may have, a hash that fits nothing else."""
    try:
        digest = bytes.fromhex(sha256)
    except ValueError:
        digest = b""
    return digest if len(digest) == DIGEST_BYTES else hashlib.sha256(sha256.encode(errors="surrogatepass")).digest()


def _facts_of(records: Records, name: str) -> Iterator[Facts]:
    for place in range(len(records)):
        try:
            facts = Facts.decode(records[place])
        except OSError as error:
            raise DataError(f"record {place} of {name} cannot be read: {error.strerror or first_line(error)}") from None
        except Exception as error:
            raise DamagedDataError(f"record {place} of {name} cannot be read, and there is no index: {first_line(error)}") from None
        yield facts


def _builder(folder: Path) -> Any:
    import tensorflow_datasets as tfds

    with _named(folder):
        return tfds.builder_from_directory(folder)


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Names the data set in whatever TFDS raises when its files are damaged. OSErrors are no sign of damage."""
    try:
        yield
    except OSError as error:
        raise DataError(f"the prepared data in {folder} cannot be read: {error.strerror or first_line(error)}") from None
    except Exception as error:
        raise DamagedDataError(f"the prepared data in {folder} is damaged ({first_line(error)}): prepare it again") from None
