"""What a set of labelled images is: a list of `Example`s and a way to get each one's image.

A source knows nothing of batches, protocols or the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

LABEL_FOLDERS = {"0_real": 0, "1_fake": 1}


@dataclass(frozen=True)
class Example:
    """One image: path (relative to its source), label 0 real / 1 fake / None unknown, suite and generator."""

    path: str
    label: int | None = None
    suite: str = ""
    generator: str = ""


class Source(Protocol):
    """What the pipeline and the scorer need of a data set. `name` is what reports call it."""

    name: str
    examples: Sequence[Example]

    def image(self, index: int) -> Image.Image:
        """RGB image of examples[index]; raises ImageError."""
        ...

    def encoded(self, index: int) -> bytes | None:
        """The file of examples[index] as it is, None where there never was one; raises ImageError."""
        ...

    def content_hash(self, index: int) -> str:
        """What tells the content of examples[index] from any other, broken files included."""
        ...


def folders_above_label(path: str) -> tuple[str, ...]:
    """Path of an example below 0_real or 1_fake -> the folders above that."""
    parts = Path(path).parts
    return parts[: next(place for place, part in enumerate(parts) if part in LABEL_FOLDERS)]


class JoinedSource:
    """Several sources one after another; `parts` are their names."""

    def __init__(self, sources: Sequence[Source], *, name: str):
        self.name, self._sources, self.parts = name, sources, [source.name for source in sources]
        self.examples: Sequence[Example] = [example for source in sources for example in source.examples]
        self._places = [(number, place) for number, source in enumerate(sources) for place in range(len(source.examples))]

    def image(self, index: int) -> Image.Image:
        number, place = self._places[index]
        return self._sources[number].image(place)

    def encoded(self, index: int) -> bytes | None:
        number, place = self._places[index]
        return self._sources[number].encoded(place)

    def content_hash(self, index: int) -> str:
        number, place = self._places[index]
        return self._sources[number].content_hash(place)
