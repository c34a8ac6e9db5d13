"""The same picture more than once: in both labels, in two splits, or repeated within one place."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfm_jax.data.audit.formats import Format, format_of
from lfm_jax.data.audit.tree import Place
from lfm_jax.data.images import ImageError, opened, read, to_rgb

HARMFUL = ("real and fake", "leak")  # kinds of duplicates
Duplicates = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ExaminedImage:
    """What is kept of an image file. One that cannot be used has its reason in `error`, and neither hashes nor format.

    Attributes:
      path: relative to the root of its tree.
      place, label: where it belongs; the label is the name of its folder.
      sha256: of its bytes.
      pixels: a hash of its size and RGB pixels.
    """

    path: str
    place: Place
    label: str
    sha256: bytes = b""
    pixels: bytes = b""
    format: Format | None = None
    error: str = ""


def examine(root: Path, path: str, place: Place, label: str) -> ExaminedImage:
    """Reads a file once: hashes it, takes its format from the header, decodes it."""
    try:
        data = read(root / path)
        with opened(data) as image:
            form = format_of(image, len(data))
            rgb = to_rgb(image)
    except ImageError as error:
        return ExaminedImage(path, place, label, error=str(error))
    pixels = hashlib.blake2b(repr(rgb.size).encode() + rgb.tobytes(), digest_size=16).digest()
    return ExaminedImage(path, place, label, hashlib.sha256(data).digest(), pixels, form)


def find_duplicates(images: Iterable[ExaminedImage]) -> Duplicates:
    """Groups of files with the same pixels: `kinds`, `same` ("bytes" if all are equal, else "pixels") and `files`.

    Kinds are "real and fake" (under both labels), "leak" (in more than one split), and otherwise "repeated" (within a
    generator) or "shared" (between generators, as suites share their real images).
    """
    by_pixels: dict[bytes, list[ExaminedImage]] = {}
    for image in images:
        if not image.error:
            by_pixels.setdefault(image.pixels, []).append(image)
    return [describe(copies) for copies in by_pixels.values() if len(copies) > 1]


def describe(copies: list[ExaminedImage]) -> dict[str, Any]:
    """The group of these files, which have the same pixels; see `find_duplicates`."""
    return {
        "kinds": _kinds(copies),
        "same": "bytes" if len({image.sha256 for image in copies}) == 1 else "pixels",
        "files": [{"path": image.path, "sha256": image.sha256.hex()} for image in copies],
    }


def _kinds(copies: list[ExaminedImage]) -> list[str]:
    kinds = ["real and fake"] if len({image.label for image in copies}) > 1 else []
    kinds += ["leak"] if len({image.place.split for image in copies}) > 1 else []
    generators = {(image.place.split, image.place.suite, image.place.generator) for image in copies}
    return kinds or ["shared" if len(generators) == len(copies) else "repeated"]
