"""What a source of images is: a list of `Example`s and a way to get the image of each.

A source knows nothing of batches, protocols or networks. Anything with the four members of `Source` is one; there is
no class to inherit from.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from lfm_jax.data.listing import listing_hash
from lfm_jax.errors import DataError

Labels = Mapping[str, int]  # name of a folder, or of a label in a list: 0 real, 1 fake
LABEL_FOLDERS: Labels = {"0_real": 0, "1_fake": 1}
EXAMPLE = "real:nature,fake:ai"


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


def listing_of(source: Source) -> str:
    """The hash of a source's images by label and path, in their order: two sources of one hash give the same examples."""
    return listing_hash(f"{example.label} {example.path}" for example in source.examples)


def parse_labels(text: str, *, field: str = "--labels") -> Labels:
    """The folder names of both labels from text such as "real:nature,fake:ai"; "" stands for LABEL_FOLDERS.

    A label may have several names: "real:nature,fake:ai,fake:sd". `field` is where the text comes from, for the message.

    Raises:
      DataError: it is anything else.
    """
    if not text:
        return LABEL_FOLDERS
    labels: dict[str, int] = {}
    for part in text.split(","):
        label, _, name = (word.strip() for word in part.partition(":"))
        if label not in ("real", "fake") or not name or "/" in name or name in labels:
            raise DataError(
                f"{field}={text}: cannot read {part!r}; expected both labels with a folder name each, such as {EXAMPLE}"
            )
        labels[name] = int(label == "fake")
    if len(set(labels.values())) < 2:
        raise DataError(f"{field}={text}: names one label only; expected both, such as {EXAMPLE}")
    return labels


def names_of(labels: Labels, label: int | None = None) -> str:
    """The folders of a label, or of both, in words: "0_real/ and 1_fake/"."""
    return " and ".join(f"{name}/" for name, value in labels.items() if label in (None, value))


def meant_label(name: str, labels: Labels = LABEL_FOLDERS) -> str | None:
    """The label folder that a folder of this name, such as 0_Real or fake, was probably meant to be; None for any other."""
    plain = name.casefold().replace("-", "_").replace(" ", "_").removesuffix("s")
    close = difflib.get_close_matches(plain, labels, n=1, cutoff=0.8)
    return close[0] if close and name not in labels else None


def folders_above_label(path: str) -> tuple[str, ...]:
    """The folders of an example's path that lie above its 0_real or 1_fake."""
    parts = Path(path).parts
    return parts[: next(place for place, part in enumerate(parts) if part in LABEL_FOLDERS)]
