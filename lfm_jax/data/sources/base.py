"""What a source of images is: a list of `Example`s and a way to get the image of each.

A source knows nothing of batches, protocols or networks. Anything with the four members of `Source` is one; there is
no class to inherit from.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from lfm_jax.errors import DataError

LABEL_FOLDERS = {"0_real": 0, "1_fake": 1}


class MissingSplitError(DataError):
    """The data has no such split; raised for "test", it means that there is nothing to test on."""


@dataclass(frozen=True)
class Example:
    """One image of a source.

    Attributes:
      path: where it is, relative to its source. Need not be a file; it names the image in every report.
      label: 0 real, 1 fake, None unknown.
      suite: the published set, or folder of sets, that it belongs to.
      generator: what made the fakes it is scored with; reports have one row per generator.
    """

    path: str
    label: int | None = None
    suite: str = ""
    generator: str = ""


class Source(Protocol):
    """A set of images for training or scoring. `name` is what reports call it. Several threads call it at once."""

    name: str
    examples: Sequence[Example]

    def image(self, index: int) -> Image.Image:
        """The RGB image of `examples[index]`. Raises ImageError where it cannot be read."""
        ...

    def encoded(self, index: int) -> bytes | None:
        """The file of `examples[index]`, byte for byte; None if it never was a file. Raises ImageError."""
        ...

    def content_hash(self, index: int) -> str:
        """Text that differs wherever the content of `examples[index]` does. Broken files have one too."""
        ...


def meant_label(name: str) -> str | None:
    """The label folder that a folder of this name, such as 0_Real or fake, was probably meant to be; None for any other."""
    plain = name.casefold().replace("-", "_").replace(" ", "_").removesuffix("s")
    close = difflib.get_close_matches(plain, LABEL_FOLDERS, n=1, cutoff=0.8)
    return close[0] if close and name not in LABEL_FOLDERS else None


def folders_above_label(path: str) -> tuple[str, ...]:
    """The folders of an example's path that lie above its 0_real or 1_fake."""
    parts = Path(path).parts
    return parts[: next(place for place, part in enumerate(parts) if part in LABEL_FOLDERS)]
