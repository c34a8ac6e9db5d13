"""The few EXIF tags that say where an image came from.

Read here and not by Pillow, which keeps the value of every tag: a file of 64 kB whose 5,000 tags overlap takes it 350 MB.
"""

import struct
from collections.abc import Iterator

SOFTWARE, MAKE, MODEL, XMP = 0x0131, 0x010F, 0x0110, 0x02BC
TAKEN, COMMENT = 0x9003, 0x9286
EXIF_IFD = 0x8769
C2PA = 0xCD41  # of TIFF files alone
WANTED = (SOFTWARE, MAKE, MODEL, XMP, TAKEN, COMMENT, C2PA)
MAX_VALUE = 1 << 18  # bytes
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 13: 4}


def read_exif(data: bytes) -> dict[int, bytes]:
    """EXIF or TIFF data -> the values of the tags in WANTED, as bytes, as far as they can be read."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return {}
    tags = dict(_entries(data, order, struct.unpack_from(f"{order}I", data, 4)[0]))
    if EXIF_IFD in tags and len(tags[EXIF_IFD]) == 4:
        tags |= dict(_entries(data, order, struct.unpack(f"{order}I", tags.pop(EXIF_IFD))[0]))
    return {tag: value for tag, value in tags.items() if tag in WANTED}


def _entries(data: bytes, order: str, place: int) -> Iterator[tuple[int, bytes]]:
    """The tags of one directory, at most 65,535. Directories that follow it are not visited."""
    if place + 2 > len(data):
        return
    (count,) = struct.unpack_from(f"{order}H", data, place)
    for start in range(place + 2, min(place + 2 + 12 * count, len(data) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, start)
        if tag not in WANTED and tag != EXIF_IFD:
            continue
        size = _SIZES.get(kind, 0) * values
        at = start + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, start + 8)[0]
        yield tag, data[at : at + min(size, MAX_VALUE)]


def text_of(value: bytes) -> str:
    """The text of a tag, up to its first NUL."""
    return value.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def comment_of(value: bytes) -> str:
    """The text of UserComment, which begins with the name of its encoding. The byte order, often not the file's, is guessed."""
    code, text = value[:8].rstrip(b"\0 "), value[8:]
    if code != b"UNICODE":
        return (text if code in (b"ASCII", b"JIS", b"") else value).decode("utf-8", "replace").strip("\0 ")
    text = text[: len(text) // 2 * 2].removeprefix(b"\xfe\xff")
    little = text[1::2].count(0) > text[::2].count(0)  # of Latin text, every other byte is 0
    return text.decode("utf-16-le" if little else "utf-16-be", "replace").strip("\0 ")
