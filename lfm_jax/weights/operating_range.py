"""The operating range of weights: in which kinds of files they were shown to find fakes, and in which they are blind.

It is counted on labelled validation images by `lfm calibrate` and kept in the card. What follows from the counts is one
rule for all weights, by 95 % intervals (Wilson) of the share of fakes found and the share of photographs accused:

- they *see* there if the two intervals do not overlap and the lower end of the share found is above ONE_IN_TEN;
- they are *blind* there otherwise;
- their *alarms are frequent* there if the lower end of the share accused is above ONE_IN_TEN;
- nothing is *known* there with fewer than ENOUGH fakes. With fewer than ENOUGH photographs, only blindness can be: the
  weights find nothing even if they accuse nobody.

A file is judged by the most specific counts that are known: its format, quality band and size; its format and quality
band; its format.
"""

import dataclasses
import functools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfm_jax.data.facts import FileFacts
from lfm_jax.errors import WeightsError

ENOUGH = 20  # images of a label
ONE_IN_TEN = 0.1
QUALITIES = (1, 70, 85, 95, 101)  # bands of JPEG quality; each ends below the next
SIDES = (1, 128, 256, 512, 1024)  # bands of the shorter side in px; the last has no end
SHIPPED = Path(__file__).with_name("operating_ranges.json")
Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Counts:
    """What became of validation images of one kind: `found` of the `fakes`, and `accused` of the `photographs`.

    Attributes:
      kind: "lossless", JPEG, WebP and so on; see `FileFacts.kind`.
      quality: band of JPEG quality, such as "85 to 94"; "" for any.
      side: band of the shorter side, such as "256 to 511"; "" for any.
    """

    kind: str
    quality: str
    side: str
    fakes: int
    found: int
    photographs: int
    accused: int

    @property
    def known(self) -> bool:
        """Whether there are images enough to say that these weights see, or are blind."""
        return self.fakes >= ENOUGH and (self.photographs >= ENOUGH or self._blind)

    @property
    def blind(self) -> bool:
        """Whether it is known that finding no trace says nothing."""
        return self.known and self._blind

    @property
    def accuses(self) -> bool:
        """Whether it is known that photographs are accused so often that finding a trace says little."""
        return self.photographs >= ENOUGH and interval(self.accused, self.photographs)[0] > ONE_IN_TEN

    @property
    def _blind(self) -> bool:
        accused = interval(self.accused, self.photographs)[1] if self.photographs >= ENOUGH else 0.0
        return interval(self.found, self.fakes)[0] <= max(accused, ONE_IN_TEN)

    @property
    def files(self) -> str:
        """Which files these are: "lossless files", "JPEG files of quality 85 to 94"."""
        kind = f"{self.kind} files"
        quality = f" of quality {self.quality}" if self.quality else ""
        return f"{kind}{quality}{f' with a shorter side of {self.side} px' if self.side else ''}"

    def __str__(self) -> str:
        found, accused = f"{self.found} of {self.fakes} fakes", f"{self.accused} of {self.photographs} photographs"
        return f"of {self.files}, they found {found} and accused {accused}"


@dataclass(frozen=True)
class OperatingRange:
    """Counts on validation images, and what they hold for.

    Attributes:
      protocol: the only one that they say something about.
      cut: the logit above which an image was called fake.
      smallest: shorter side in px of the smallest image measured.
      largest: of the largest one.
      data, data_sha256: the images.
    """

    protocol: str
    cut: float
    smallest: int
    largest: int
    cells: tuple[Counts, ...]
    data: str = ""
    data_sha256: str = ""

    def counts(self, facts: FileFacts, side: int) -> Counts | None:
        """The most specific known counts for a file whose shorter side has `side` px; None where nothing is known."""
        cells = {(cell.kind, cell.quality, cell.side): cell for cell in self.cells}
        quality, size = quality_band(facts), side_band(side)
        places = [(facts.kind, quality, size), (facts.kind, quality, ""), (facts.kind, "", "")]
        return next((cells[place] for place in places if place in cells and cells[place].known), None)

    def to_values(self) -> dict[str, Any]:
        """As JSON for a card, with what follows from each of the counts for readers that do not know the rule."""
        judged = [
            {**dataclasses.asdict(cell), "known": cell.known, "blind": cell.blind, "accuses": cell.accuses} for cell in self.cells
        ]
        return {**dataclasses.asdict(self), "cells": judged}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "OperatingRange":
        """Reads what `to_values` wrote. Raises WeightsError that names what is wrong."""
        try:
            cells = tuple(_cell(cell) for cell in values["cells"])
            return cls(
                protocol=_typed(values, "protocol", str),
                cut=float(_typed(values, "cut", (int, float))),
                smallest=_typed(values, "smallest", int),
                largest=_typed(values, "largest", int),
                cells=cells,
                data=_typed(values, "data", str),
                data_sha256=_typed(values, "data_sha256", str),
            )
        except (KeyError, TypeError) as error:
            raise WeightsError(
                f"operating_range: {type(error).__name__}: {error}; measure it again with lfm calibrate --range"
            ) from None


def measure(
    images: Iterable[tuple[FileFacts, int, bool, bool]], *, protocol: str, cut: float, data: str, data_sha256: str
) -> OperatingRange | None:
    """Counts images (facts, shorter side, is fake, is called fake) by kind, quality band and size band; None if there are none."""
    tallies: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    sides = []
    for facts, side, fake, called in images:
        sides.append(side)
        quality, size = quality_band(facts), side_band(side)
        for place in {(facts.kind, quality, size), (facts.kind, quality, ""), (facts.kind, "", "")}:
            tally = tallies[place]
            tally[0 if fake else 2] += 1
            tally[1 if fake else 3] += called
    if not sides:
        return None
    cells = tuple(Counts(*place, *tally) for place, tally in sorted(tallies.items()))
    return OperatingRange(protocol, cut, min(sides), max(sides), cells, data, data_sha256)


def quality_band(facts: FileFacts) -> str:
    """The band of a JPEG's quality; "" for what has none."""
    return _band(facts.quality, QUALITIES) if facts.quality else ""


def side_band(side: int) -> str:
    """The band of a shorter side in px."""
    return _band(side, SIDES)


def _band(value: int, starts: tuple[int, ...]) -> str:
    low = max(start for start in starts if start <= max(value, starts[0]))
    following = [start for start in starts if start > low]
    return f"{low} to {following[0] - 1}" if following else f"{low} or more"


def interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if not total:
        return 0.0, 1.0
    share, squared = hits / total, Z * Z / total
    middle, reach = share + squared / 2, Z * math.sqrt(share * (1 - share) / total + squared / (4 * total))
    return (middle - reach) / (1 + squared), (middle + reach) / (1 + squared)


def read_ranges(values: Mapping[str, Any]) -> dict[str, OperatingRange]:
    """A card's field, ranges by their protocols, as JSON holds them. Raises WeightsError that names what is wrong."""
    return {protocol: OperatingRange.from_values(one) for protocol, one in values.items()}


@functools.cache
def shipped() -> dict[str, dict[str, Any]]:
    """What the field would hold for published weights that carry no card, by the content hash of the weights."""
    ranges: dict[str, dict[str, Any]] = json.loads(SHIPPED.read_bytes())
    return ranges


def _cell(values: Mapping[str, Any]) -> Counts:
    words = [_typed(values, name, str) for name in ("kind", "quality", "side")]
    numbers = [_typed(values, name, int) for name in ("fakes", "found", "photographs", "accused")]
    if not (0 <= numbers[1] <= numbers[0] and 0 <= numbers[3] <= numbers[2]):
        raise WeightsError(f"operating_range.cells: {dict(values)}: found of fakes and accused of photographs must be counts")
    return Counts(*words, *numbers)


def _typed(values: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = values[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise WeightsError(f"operating_range.{name} = {value!r}: expected {'text' if kind is str else 'a number'}")
    return value
