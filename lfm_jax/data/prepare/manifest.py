"""Work to hand out: a manifest of rows, one line of JSON each, and ranges of it, which are all that a worker is given."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
MOST_RANGES = 10_000  # each leaves a small file with its answer


class Range(NamedTuple):
    """The lines from `first` on, counted from 0, that lie in the bytes from `start` to `stop` of a manifest."""

    file: str
    first: int
    start: int
    stop: int

    def rows(self) -> list[Any]:
        with open(self.file, "rb") as file:
            file.seek(self.start)
            return [json.loads(line) for line in file.read(self.stop - self.start).splitlines()]


def write_manifest(path: Path, pieces: Iterable[Iterable[Any]]) -> list[Range]:
    """Writes the rows of all pieces, and returns the range of each piece."""
    ranges, first, start = [], 0, 0
    with open(path, "wb") as file:
        for piece in pieces:
            lines = [json.dumps(row).encode() + b"\n" for row in piece]  # in ASCII, whatever a file is called
            file.writelines(lines)
            ranges.append(Range(str(path), first, start, start + sum(map(len, lines))))
            first, start = first + len(lines), ranges[-1].stop
    return ranges


def in_pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cuts items into pieces of `size`, of more where there would be more than MOST_RANGES of them."""
    size = max(size, -(-len(items) // MOST_RANGES))
    return (items[start : start + size] for start in range(0, len(items), size))
