"""Prepared data sets: images in ArrayRecord files as `lfm data prepare` or a TFDS builder wrote them.

In: the folder that holds them. Out: Sources whose example i is the i-th of the folder they were made of. What
is known of each image lies in a small index beside the records, so that opening reads no image.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from lfm_jax.data.images import decode_bytes
from lfm_jax.data.sources.base import Example, JoinedSource, folders_above_label
from lfm_jax.errors import DataError


@dataclass(frozen=True)
class Facts:
    """What a record holds beside the image: where it came from, its label, and the file as it was.

    `path` is relative to the split's folder, `class_name` the folders between the generator and the label;
    sha256 and size (bytes) are of the file, `container` is PIL's name of its format.
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
        """As a record's fields: text as bytes, since file names need not be UTF-8."""
        return {name: os.fsencode(value) if isinstance(value, str) else value for name, value in asdict(self).items()}

    @classmethod
    def decode(cls, record: Mapping[str, Any]) -> "Facts":
        """The fields of a record -> Facts."""
        values: dict[str, Any] = {name: os.fsdecode(record[name]) if FIELDS[name] is str else int(record[name]) for name in FIELDS}
        return cls(**values)


FIELDS: Mapping[str, Any] = {field.name: field.type for field in fields(Facts)}  # to str or int


class Records(Protocol):
    """Random access to records with the fields of `Facts` and `image`, the file's bytes; TFDS's data sources are such."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class TfdsRecords:
    """The records of a split as TFDS's data source reads them, parsed here: TFDS takes ten times as long to parse one."""

    def __init__(self, folder: Path, split: str):
        import tensorflow_datasets as tfds

        self._encoded = _builder(folder).as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        from tensorflow_datasets.proto import tf_example_pb2  # not kept, as it cannot travel to another process

        features = tf_example_pb2.Example.FromString(self._encoded[index]).features.feature
        return {name: getattr(field, field.WhichOneof("kind")).value[0] for name, field in features.items()}


class RecordSource:
    """A Source over any `Records`, e.g. `RecordSource(tfds.data_source("forensynths", split="val", data_dir=OUT), name="val")`.

    Without the `facts` from an index each record is read once for them. `chosen` are the places of the
    examples among the records, all of them unless given.
    """

    def __init__(self, records: Records, facts: Iterable[Facts] | None = None, *, name: str, chosen: Sequence[int] | None = None):
        facts = list(facts) if facts is not None else [Facts.decode(records[index]) for index in range(len(records))]
        self.name, self._records = name, records
        self._places = range(len(facts)) if chosen is None else chosen
        self.examples: Sequence[Example] = [facts[place].example() for place in self._places]
        self._hashes = [facts[place].sha256 for place in self._places]

    def image(self, index: int) -> Image.Image:
        return decode_bytes(self.encoded(index))

    def encoded(self, index: int) -> bytes:
        data: bytes = self._records[self._places[index]]["image"]
        return data

    def content_hash(self, index: int) -> str:
        return self._hashes[index]


def find_prepared(root: str | os.PathLike[str]) -> dict[str, Path]:
    """Name -> folder of the data sets in `root`: the folder given to `lfm data prepare`, one data set in it, or its version."""
    for pattern in ("dataset_info.json", "*/dataset_info.json", "*/*/dataset_info.json"):
        folders = sorted(path.parent for path in Path(root).expanduser().absolute().glob(pattern))
        whole = {folder.parent.name: folder for folder in folders if re.fullmatch(r"\d+\.\d+\.\d+", folder.name)}
        if whole:
            return whole
    return {}


def choose(root: str | os.PathLike[str], name: str = "") -> Path:
    """The folder of the prepared data set `name`, or of the only one in `root`. Raises DataError, listing what is there."""
    found = find_prepared(root)
    if not found:
        raise DataError(f"no prepared data in {root}: expected the folder given to lfm data prepare, or a data set in it")
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise DataError(f"config.data.name = {name!r}: the prepared data sets in {root} are {', '.join(found)}")
    return found[name]


def splits(folder: Path) -> tuple[str, ...]:
    """The splits of the prepared data set in `folder`."""
    return tuple(_builder(folder).info.splits)


def open_prepared_split(root: str | os.PathLike[str], name: str, split: str, *, classes: Sequence[str] = ()) -> RecordSource:
    """A split of the prepared data set `name` in `root`, with `classes` only the examples below folders of those names.

    Raises:
      DataError: the data set, the split or a class is not there, or index and records do not belong together.
    """
    folder = choose(root, name)
    if split not in splits(folder):
        raise DataError(f"{folder.parent} has no split {split}: there are {', '.join(splits(folder))}")
    records, facts = TfdsRecords(folder, split), read_index(folder, split)
    if facts is None:
        facts = [Facts.decode(records[place]) for place in range(len(records))]
    if len(facts) != len(records):
        raise DataError(
            f"{index_file(folder, split)} lists {len(facts)} images, the records hold {len(records)}: prepare them again"
        )
    above = [folders_above_label(fact.path) for fact in facts]
    unknown = set(classes) - set().union(*above)
    if unknown:
        names = sorted({parts[-1] for parts in above if parts})
        raise DataError(f"no class {', '.join(sorted(unknown))} in {folder} {split}: there are {', '.join(names)}")
    chosen = [place for place, parts in enumerate(above) if not classes or set(classes) & set(parts)]
    return RecordSource(records, facts, name=f"{folder.parent.name}/{split}", chosen=chosen)


def open_prepared(root: str | os.PathLike[str], split: str) -> JoinedSource:
    """This split of all prepared data sets in `root`, each part named DATASET/SPLIT. Raises DataError where none has it."""
    found = find_prepared(root)
    sources = [open_prepared_split(folder, "", split) for folder in found.values() if split in splits(folder)]
    if not sources:
        raise DataError(f"no {split} split in the prepared data of {root}: there are {', '.join(found)}")
    return JoinedSource(sources, name=f"{root} ({split})")


def index_file(folder: Path, split: str) -> Path:
    return folder / f"index_{split}.jsonl"


def write_index(folder: Path, split: str, facts: Iterable[Facts]) -> None:
    """One line a record, in their order."""
    index_file(folder, split).write_text("".join(json.dumps(asdict(fact)) + "\n" for fact in facts))


def read_index(folder: Path, split: str) -> list[Facts] | None:
    """What `write_index` wrote; None where there is none, as after `tfds build`."""
    try:
        lines = index_file(folder, split).read_text().splitlines()
    except FileNotFoundError:
        return None
    return [Facts(**json.loads(line)) for line in lines]


def _builder(folder: Path) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(folder)
