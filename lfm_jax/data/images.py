"""Files to pixels: PIL decoding as the published protocols use it, and the listing of image files.

In: paths. Out: PIL images in RGB, or an `ImageError` whose reason a user can act on. EXIF orientation is
left alone and animated files give frame 0, both as PIL's plain `convert("RGB")` does. What an image would cost
is known from its header and refused before it is paid.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # PIL's others are never tried: one starts Ghostscript
MAX_FILE_BYTES = 1 << 28  # nothing that is one image and within the limits below comes near
MAX_PIXELS = 1 << 27  # a 100-megapixel camera's photograph passes; decoding takes up to 8 bytes a pixel
MAX_SIDE = (1 << 16) - 1  # as JPEG has it
MAX_RLE_PIXELS = 1 << 22  # of a run-length BMP, which PIL decodes in Python: two kilobytes took it 9 s
MAX_SCANNED_PIXELS = 1 << 32  # of a JPEG, whose every scan costs a pass over all pixels; an honest one has about ten


class ImageError(Exception):
    """One image that cannot be used; str() is the reason, without the path."""


def decode(path: str | os.PathLike[str]) -> Image.Image:
    """Image file -> RGB image, fully decoded.

    Raises:
      ImageError: the file is missing or unreadable, or `opened` refuses what is in it.
    """
    return decode_bytes(read(path))


def read(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes. Raises ImageError: it is missing, unreadable, no file, or far too large for an image."""
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
    """Encoded image -> RGB image, fully decoded. Raises ImageError as `opened` does."""
    with opened(data) as image:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Encoded image -> PIL image with its header read (format, mode, size) and its pixels not yet decoded.

    Raises:
      ImageError: it is empty, no image, or too large to be honest; or what the caller does with it fails, as
        decoding does where the data is truncated or broken.
    """
    if not data:
        raise ImageError("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_bombs(image, data)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"not an image file of a format read here ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as error:  # some of PIL's parsers look before the size is known here
        raise ImageError(f"refused before decoding: {error}") from None
    except Exception as error:  # PIL's parsers raise almost anything on hostile bytes; one file must not end a run
        raise ImageError(_reason(error)) from None


def _refuse_bombs(image: ImageFile.ImageFile, data: bytes) -> None:
    width, height = image.size
    limit = MAX_RLE_PIXELS if image.tile and image.tile[0][0] == "bmp_rle" else MAX_PIXELS
    if width * height > limit or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"refused before decoding: {width} x {height} = {width * height} pixels is over the limit of "
            f"{limit} pixels or {MAX_SIDE} a side"
        )
    scans = data.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 1
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


def list_images(folder: Path) -> Iterator[Path]:
    """Image files below `folder` by suffix, in sorted order.

    A folder that cannot be read is listed in place of its files, so that decoding it names the reason.
    """
    return map(Path, image_files(folder))


def image_files(folder: Path) -> Iterator[str]:
    """As `list_images`, in text: a Path for each of 100,000 files takes seconds."""
    for directory, _, files in walk(folder):
        if files is None:
            yield str(directory)
            continue
        above = os.path.join(directory, "").removeprefix("./")  # noqa: PTH118
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES):
                yield above + name


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str] | None]]:
    """Folder -> (folder, its folders, its files) for it and all below, sorted; files None if it is unreadable.

    Symbolic links are followed, as data sets share their real images that way; a link back to a folder
    above itself is not.
    """
    ahead: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]  # no recursion: a tree may be deeper than Python's stack
    while ahead:
        folder, above = ahead.pop()
        real = os.path.realpath(folder)
        if real in above:
            continue
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, _is_folder(entry)) for entry in entries)
        except OSError:
            yield folder, [], None
            continue
        folders = [name for name, is_folder in found if is_folder]
        yield folder, folders, [name for name, is_folder in found if not is_folder]
        ahead += [(folder / name, (*above, real)) for name in reversed(folders)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: taken for a file, so that decoding it names the reason
        return False


def as_rgb(image: Any) -> Image.Image:
    """Path, PIL image or array [H, W, 3] uint8 -> RGB image. Raises ImageError, or ValueError for another shape or dtype."""
    if isinstance(image, (str, Path, os.PathLike)):
        return decode(image)
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    pixels = checked_pixels(np.asarray(image)[None])
    return Image.fromarray(pixels[0])


def checked_pixels(images: Any) -> np.ndarray:
    """Array uint8 [B, H, W, 3] -> the same as a numpy array. Raises ValueError for another shape or dtype."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"expected images as uint8 [B, H, W, 3], got {images.dtype} {list(images.shape)}"
            + (": pixel values are 0..255, not scaled" if np.issubdtype(images.dtype, np.floating) else "")
        )
    return images
