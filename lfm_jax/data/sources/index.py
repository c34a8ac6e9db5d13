"""Examples of very many images, kept in columns or chosen from other examples: each `Example` is made when it is asked for.

A million of them as objects take 250 MB; in columns they take their paths and 5 to 10 bytes each, and very many are mapped from a
file (`sources.columns`). The columns never change once they are made, so that several threads may read them.
"""

import bisect
import itertools
import operator
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from lfm_jax.data.sources.base import Example
from lfm_jax.data.sources.columns import Columns

CODEC = "utf-8", "surrogatepass"  # any name that a file or a damaged list may have comes back as it was
AT_ONCE = 1 << 16  # examples whose numbers are made Python's own while all are gone through


class MadeWhenAsked(Sequence[Example]):
    """What the sequences here have in common; it equals any other sequence of the same examples."""

    @abstractmethod
    def at(self, place: int) -> Example:
        """The example at a place that is known to exist."""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        places = range(len(self))[index]  # raises IndexError, and counts from the end where the index is negative
        return list(map(self.at, places)) if isinstance(places, range) else self.at(places)

    def __iter__(self) -> Iterator[Example]:
        return map(self.at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # as lists have none

    def __repr__(self) -> str:
        return f"<{len(self)} examples>"


class Examples(MadeWhenAsked):
    """Examples in columns. There should be few combinations of a label, a suite and a generator among them, as each is kept.

    Args:
      examples: gone through once.
    """

    def __init__(self, examples: Iterable[Example]):
        paths, ends, numbers = bytearray(), array("Q", [0]), array("I")
        kinds: dict[tuple[Any, ...], int] = {}
        for example in examples:
            paths += example.path.encode(*CODEC)
            ends.append(len(paths))
            numbers.append(kinds.setdefault((example.label, example.suite, example.generator), len(kinds)))
        self._kinds = list(kinds)
        self._columns = Columns(
            paths=np.frombuffer(bytes(paths), np.uint8),
            ends=_smallest(ends, largest=len(paths)),
            kind=_smallest(numbers, largest=len(kinds)),
        )

    def __len__(self) -> int:
        return len(self._columns["kind"])

    def at(self, place: int) -> Example:
        paths, ends, kind = (self._columns[name] for name in ("paths", "ends", "kind"))
        return Example(str(paths.data[ends[place] : ends[place + 1]], *CODEC), *self._kinds[kind[place]])

    def __iter__(self) -> Iterator[Example]:
        """All of them, in half the time that it takes to ask for each by its place."""
        paths = self._columns["paths"].data
        for start in range(0, len(self), AT_ONCE):
            ends = self._columns["ends"][start : start + AT_ONCE + 1].tolist()
            kinds = self._columns["kind"][start : start + AT_ONCE].tolist()
            for (first, last), kind in zip(itertools.pairwise(ends), kinds, strict=True):
                yield Example(str(paths[first:last], *CODEC), *self._kinds[kind])


class ChosenExamples(MadeWhenAsked):
    """The examples at some places of a sequence, in that order: 4 bytes each."""

    def __init__(self, examples: Sequence[Example], places: Iterable[int]):
        self._examples, self.places = examples, places if isinstance(places, (range, array)) else array("I", places)

    def __len__(self) -> int:
        return len(self.places)

    def at(self, place: int) -> Example:
        return self._examples[self.places[place]]


class JoinedExamples(MadeWhenAsked):
    """The examples of several sequences, one sequence after another: no memory of their own."""

    def __init__(self, parts: Sequence[Sequence[Example]]):
        self._parts = parts
        self._starts = [0, *itertools.accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self._starts[-1]

    def where(self, index: int) -> tuple[int, int]:
        """The number of the part that an example comes from, and its place in it."""
        place = range(len(self))[index]
        part = bisect.bisect_right(self._starts, place) - 1
        return part, place - self._starts[part]

    def at(self, place: int) -> Example:
        part, inside = self.where(place)
        return self._parts[part][inside]

    def __iter__(self) -> Iterator[Example]:
        return itertools.chain.from_iterable(self._parts)


def in_columns(examples: Iterable[Example]) -> Sequence[Example]:
    """The examples in columns, unless they are made when asked for already."""
    return examples if isinstance(examples, MadeWhenAsked) else Examples(examples)


def _smallest(numbers: Sequence[int], *, largest: int) -> np.ndarray:
    """The numbers in as few bytes each as the largest needs."""
    return np.array(numbers, np.min_scalar_type(largest))
