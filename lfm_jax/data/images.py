"""Decoding image files, as the published protocols do it with PIL.

Every file becomes an RGB image or an `ImageError` with a reason that a user can act on. As with PIL's plain
`convert("RGB")`, EXIF orientation is ignored and animations give their first frame; unlike there, grey values of more
than 8 bits are scaled to 8. What decoding would cost is read from the header, and too costly files are refused before
any of it is spent.
"""

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from lfm_jax.data.budget import BUDGET
from lfm_jax.data.containers import decodes_in_one_pass, jpeg_layout, jpeg_with_its_end, png_without_metadata
from lfm_jax.data.facts import KEY, carried, facts_of
from lfm_jax.data.formats import READ, formats_for
from lfm_jax.data.kinds import HEAD, VIDEOS, kind_of
from lfm_jax.errors import ImageError as ImageError
from lfm_jax.runtime.paths import expanded

MAX_FILE_BYTES = 1 << 28  # far above any single image within the limits below
MAX_PIXELS = 1 << 27  # enough for a 100-megapixel camera
# WebP, and HEIC and AVIF, which are frames of a video, are decoded into planes first and then into pixels.
IN_PLANES = ("WEBP", "HEIF", "AVIF")
MAX_PIXELS_IN_PLANES = 1 << 26
BYTES_PER_PIXEL, BYTES_PER_PIXEL_IN_PLANES = 8, 16  # that decoding takes; with the limits above, at most a gibibyte
MAX_SIDE = (1 << 16) - 1  # the limit of JPEG
MAX_RLE_PIXELS = 1 << 22  # of a run-length BMP, which PIL decodes in Python: a file of two kilobytes took 9 s
TRUNCATED = "lfm_truncated"
TIFF_BITS_PER_SAMPLE = 258  # the number of the tag
MAX_SCANNED_PIXELS = 1 << 32  # of a JPEG, each scan of which is a pass over all pixels; an honest one has about ten


class _Lenient(threading.local):
    """Stands in for PIL's LOAD_TRUNCATED_IMAGES: true only in a thread that is decoding what was refused before."""

    active = False

    def __bool__(self) -> bool:
        return self.active


_LENIENT = _Lenient()
_take_truncated = False


def take_truncated(take: bool) -> None:
    """Whether this process, from now on, decodes images whose pixels are cut as the released code does, with PIL's switch.

    What is missing is then grey or black, and the image's `info[TRUNCATED]` says why it was refused otherwise.
    """
    global _take_truncated
    _take_truncated = take


def takes_truncated() -> bool:
    """Whether `take_truncated` is on."""
    return _take_truncated


def decode(path: str | os.PathLike[str]) -> Image.Image:
    """Decodes an image file to an RGB image.

    Raises:
      ImageError: the file is missing or unreadable, or `opened` refuses its content.
    """
    return decode_bytes(read(path))


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file. Raises ImageError if it is missing, unreadable, not a file, or far too large for an image."""
    try:
        status = Path(path).stat()
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(f"{status.st_size} bytes is over the limit of {MAX_FILE_BYTES} bytes for an image file")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ImageError("a pipe or a device, not a file")  # reading it might never end
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from None


def decode_bytes(data: bytes) -> Image.Image:
    """Decodes the bytes of an image file to an RGB image that carries its `FileFacts`. Raises ImageError as `opened` does."""
    try:
        return _decoded(data)
    except ImageError as error:
        if not _take_truncated:
            raise
        reason = error
    ImageFile.LOAD_TRUNCATED_IMAGES = _LENIENT  # type: ignore[assignment]
    _LENIENT.active = True
    try:
        decoded = _decoded(data)
    except ImageError:
        raise reason from None
    finally:
        _LENIENT.active = False
    decoded.info[TRUNCATED] = str(reason)
    return decoded


def _decoded(data: bytes) -> Image.Image:
    with opened(data) as image:
        facts, decoded = facts_of(image, data), to_rgb(image)
        decoded.info[KEY] = facts
        return decoded


def has_deep_values(mode: str) -> bool:
    """Whether an image of this mode has values of more than 8 bits, so that `to_rgb` has to scale them."""
    return mode in ("I", "F") or mode.startswith("I;16")


def to_rgb(image: Image.Image) -> Image.Image:
    """An image decoded to RGB: 8-bit images as PIL converts them, 16-bit grey without its lower byte, floats of 0 to 1 times 255.

    PIL's own conversion would clip the last two, to all white and all black.

    Raises:
      ImageError: its values have no known range.
    """
    with BUDGET.decoding(decoding_bytes(image)):
        image.load()
        return image if image.mode == "RGB" else _converted(image)  # convert would copy an RGB image


def decoding_bytes(image: Image.Image) -> int:
    """What it takes to decode an opened image, estimated from its header."""
    return image.width * image.height * (BYTES_PER_PIXEL_IN_PLANES if image.format in IN_PLANES else BYTES_PER_PIXEL)


def _converted(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        bits = getattr(image, "tag_v2", {}).get(TIFF_BITS_PER_SAMPLE, (16,))[0]
        return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # nor if there is a NaN
            raise ImageError(f"mode F: float values of {values.min():g} to {values.max():g}, expected 0 to 1; save it with 8 bits")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        raise ImageError("mode I: 32-bit integers have no known range; save it with 8 bits")
    return image.convert("RGB")


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Opens the bytes of an image file: the header (format, mode, size) is read, the pixels are not decoded yet.

    Raises:
      ImageError: the data is empty, not an image, or larger than any honest one; or what the caller does with the image
        fails, as decoding does if the data is truncated or broken.
    """
    if not data:
        raise ImageError("empty file (0 bytes)")
    try:
        data = png_without_metadata(data)
        image = _open(data)
        layout = jpeg_layout(data) if image.format in ("JPEG", "MPO") and not _is_plain_jpeg(image, data) else None
        _refuse_bombs(image, scans=layout.scans if layout else 1)
        if layout and not layout.ends and not _LENIENT:
            with BUDGET.decoding(decoding_bytes(image)):
                image = _open(jpeg_with_its_end(data))
        with image:
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        kind = kind_of(data[:HEAD])
        what = f": {kind}" * bool(kind) + ", a video; lfm predict --every=1s scores its frames" * (kind in VIDEOS)
        raise ImageError(f"not an image file of a format read here ({', '.join(READ)}){what}") from None
    except Image.DecompressionBombError as error:  # raised by some of PIL's parsers, before the size is known here
        raise ImageError(f"refused before decoding: {error}") from None
    except Exception as error:  # PIL's parsers raise almost anything on hostile bytes; one file must not end a run
        raise ImageError(_reason(error)) from None


def _is_plain_jpeg(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether this is a JPEG, as most are, of one scan and with its end. PIL has just read the header of that scan."""
    if image.format != "JPEG" or "progressive" in image.info or image.fp is None:
        return False
    return decodes_in_one_pass(data, image.fp.tell(), components=len(image.getbands()))


def is_image(path: Path) -> bool:
    """Whether a file is an image of a format read here, as far as its header tells."""
    try:
        with open(path, "rb") as file, Image.open(file, formats=formats_for(kind_of(file.read(HEAD)))):
            return True
    except Exception:  # as in `opened`
        return False


def _open(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=formats_for(kind_of(data[:HEAD])))


def _refuse_bombs(image: ImageFile.ImageFile, *, scans: int) -> None:
    width, height = image.size
    limit = min(MAX_PIXELS, MAX_PIXELS_IN_PLANES) if image.format in IN_PLANES else MAX_PIXELS
    if image.tile and image.tile[0][0] == "bmp_rle":
        limit = MAX_RLE_PIXELS
    if width * height > limit or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"refused before decoding: {width} x {height} = {width * height} pixels is over the limit of "
            f"{limit} pixels or {MAX_SIDE} a side"
        )
    if scans * width * height > MAX_SCANNED_PIXELS:
        raise ImageError(
            f"refused before decoding: {scans} scans of {width} x {height} pixels are over the limit of "
            f"{MAX_SCANNED_PIXELS} pixels scanned"
        )


def _reason(error: Exception) -> str:
    """What went wrong, on one line, never empty."""
    message = " ".join(str(getattr(error, "strerror", None) or error).split())
    if isinstance(error, OSError) and message:
        return message
    return f"cannot be decoded: {type(error).__name__}{': ' * bool(message)}{message}"


def as_rgb(image: Any) -> Image.Image:
    """An RGB image from a path, a PIL image or an array uint8 [H, W, 3].

    Raises:
      ImageError: the file cannot be read.
      ValueError: an array of another shape or dtype.
    """
    if isinstance(image, (str, Path, os.PathLike)):
        return decode(expanded(image))
    if isinstance(image, Image.Image):
        facts, decoded = carried(image), to_rgb(image)
        if decoded is not image:
            decoded.info[KEY] = facts
        return decoded
    pixels = checked_pixels(np.asarray(image)[None])
    return Image.fromarray(pixels[0])


def checked_pixels(images: Any) -> np.ndarray:
    """Returns images uint8 [B, H, W, 3] as a numpy array. Raises ValueError for another shape or dtype."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"expected images as uint8 [B, H, W, 3], got {images.dtype} {list(images.shape)}"
            + (": pixel values must be 0..255, not scaled" if np.issubdtype(images.dtype, np.floating) else "")
        )
    return images
