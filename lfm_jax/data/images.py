"""Files to pixels: PIL decoding as the published protocols use it, and the listing of image files.

In: paths. Out: PIL images in RGB, or an `ImageError` whose reason a user can act on. EXIF orientation is
left alone and animated files give frame 0, both as PIL's plain `convert("RGB")` does.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MAX_FILE_BYTES = 1 << 28  # nothing that is one image and within the limits on its sides comes near


class ImageError(Exception):
    """One image that cannot be used; str() is the reason, without the path."""


def decode(path: str | os.PathLike[str]) -> Image.Image:
    """Image file -> RGB image, fully decoded.

    Raises:
      ImageError: the file is missing or unreadable, or `decode_bytes` refuses what is in it.
    """
    return decode_bytes(read(path))


def read(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes. Raises ImageError: it is missing, unreadable, or far too large for an image."""
    try:
        size = Path(path).stat().st_size
        if size > MAX_FILE_BYTES:
            raise ImageError(f"{size} bytes is over the limit of {MAX_FILE_BYTES} bytes for an image file")
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from None


def decode_bytes(data: bytes) -> Image.Image:
    """Encoded image -> RGB image, fully decoded.

    Raises:
      ImageError: it is empty, truncated, no image, or too large to be honest.
    """
    if not data:
        raise ImageError("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise ImageError("not an image file that PIL can read") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"refused before decoding: {error}") from None
    except OSError as error:
        raise ImageError(error.strerror or str(error) or type(error).__name__) from None
    except Exception as error:  # PIL's parsers raise almost anything on hostile bytes; one file must not end a run
        raise ImageError(f"cannot be decoded: {type(error).__name__}: {error}") from None


def list_images(folder: Path) -> Iterator[Path]:
    """Image files below `folder` by suffix, in sorted order.

    A folder that cannot be read is listed in place of its files, so that decoding it names the reason.
    """
    for directory, _, files in walk(folder):
        if files is None:
            yield directory
            continue
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES):
                yield directory / name


def walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[Path, list[str], list[str] | None]]:
    """Folder -> (folder, its folders, its files) for it and all below, sorted; files None if it is unreadable.

    Symbolic links are followed, as data sets share their real images that way; a link back to a folder
    above itself is not.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError:
        yield folder, [], None
        return
    folders = [name for name, is_folder in found if is_folder]
    yield folder, folders, [name for name, is_folder in found if not is_folder]
    for name in folders:
        yield from walk(folder / name, (*above, real))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: taken for a file, so that decoding it names the reason
        return False
