"""One set of images scored by several processes that know nothing of each other, such as the tasks of a SLURM array.

Each takes every n-th image and writes a part of its own, which is there whole or not at all, so a part that is there is
finished. What the parts have in common (images, weights, protocol) is written once and compared by all others.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from lfm_jax.errors import DataError, UserError
from lfm_jax.inference.verdict import ANSWERS
from lfm_jax.runtime.fields import flatten
from lfm_jax.runtime.paths import replacing, write_new

COMMON = "shards.json"
FORMATS = ("jsonl", "csv", "parquet")
NAMED_PARTS = 10  # of those that are missing, in a message


@dataclass(frozen=True)
class Shard:
    """Number `index`, counted from 0, of `count` parts of the images."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads I/N. Raises ValueError for anything else, and where I is not below N."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise ValueError(f"{text!r}: expected I/N with I from 0 to N - 1, e.g. 0/8 to 7/8")
        return cls(int(index), int(count))

    def of(self, files: Sequence[str]) -> Sequence[str]:
        """This part of the files: every n-th, so that large and small images are spread evenly."""
        return files[self.index :: self.count]

    def file(self, folder: Path, format: str) -> Path:
        """Where the part lies in the folder of all parts."""
        return folder / f"part-{self.index:05d}-of-{self.count:05d}.{format}"


def agree(folder: Path, common: Mapping[str, Any]) -> None:
    """Writes what all parts of a folder have in common, or compares it with what another part wrote.

    Raises:
      UserError: the folder holds parts of other images, weights or options; names what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / COMMON
    if not write_new(file, (json.dumps(common, indent=1) + "\n").encode()):
        _compare(file, common)


def _compare(file: Path, common: Mapping[str, Any]) -> None:
    try:
        there = flatten(json.loads(file.read_bytes()))
    except (ValueError, AttributeError, RecursionError):
        raise DataError(f"{file} is damaged: remove it and the parts beside it, and score again") from None
    now = flatten(json.loads(json.dumps(common)))
    differences = [f"{name}: {there.get(name)!r} there, {now.get(name)!r} now" for name in now if there.get(name) != now[name]]
    if differences:
        raise UserError(f"--out={file.parent} holds parts of other work; choose another folder:\n  " + "\n  ".join(differences))


@contextmanager
def writing(part: Path) -> Iterator[TextIO]:
    """A file to write a part to, which appears under its name once it is whole."""
    with (
        replacing(part, several_writers=True) as partial,
        open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as out,
    ):
        yield out


@dataclass
class Totals:
    """What is in a folder of parts: how many images got each answer, how many could not be scored, which parts are missing."""

    answers: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    missing: list[int] = field(default_factory=list)
    parts: int = 0

    def __str__(self) -> str:
        counts = [f"{self.answers[answer]} {answer}" for answer in ANSWERS]
        lines = [f"{sum(self.answers.values()) + self.failed} images: {', '.join(counts)}, {self.failed} could not be scored."]
        if self.missing:
            named = ", ".join(map(str, self.missing[:NAMED_PARTS])) + ", ..." * (len(self.missing) > NAMED_PARTS)
            lines.append(f"{len(self.missing)} of {self.parts} parts are missing: {named}.")
        return "\n".join(lines)


def collect(folder: Path) -> Totals:
    """Counts over all parts of a folder.

    Raises:
      DataError: the folder is not one of `lfm predict --shard`, or a part is damaged.
    """
    try:
        common = json.loads((folder / COMMON).read_bytes())
        count, format = int(common["shards"]), str(common["format"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder} holds no parts of lfm predict --shard: it has no readable {COMMON}") from None
    totals = Totals(parts=count)
    for index in range(count):
        part = Shard(index, count).file(folder, format)
        if not part.is_file():
            totals.missing.append(index)
            continue
        try:
            for verdict in _verdicts(part):
                totals.answers.update([verdict] if verdict else [])
                totals.failed += not verdict
        except (ValueError, AttributeError, csv.Error) as error:
            raise DataError(f"{part} is damaged ({type(error).__name__}): remove it, and score part {index} again") from None
    return totals


def _verdicts(part: Path) -> Iterator[str]:
    """The answer of every record of a part, "" for an image that could not be scored."""
    if part.suffix == ".parquet":
        from pyarrow import parquet

        yield from (verdict or "" for verdict in parquet.read_table(part, columns=["verdict"])["verdict"].to_pylist())
        return
    with open(part, newline="", encoding="utf-8", errors="surrogateescape") as file:
        records = csv.DictReader(file) if part.suffix == ".csv" else map(json.loads, file)
        yield from (record.get("verdict") or "" for record in records)
