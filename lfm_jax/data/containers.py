"""What surrounds the pixels in a PNG or a JPEG file: walked here, so that it can neither mislead nor cost anything.

Phones append a video to a JPEG, image generators put megabytes of text into a PNG, and downloads lose the last two
bytes. None of it touches the pixels.
"""

import io
import random
import re
import struct
import zlib
from dataclasses import dataclass

from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# FF 00 is a data byte, FF D0 to D7 and FF 01 stand alone, and FF FF is padding: none of them begins a segment.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")  # between the intervals of a scan, numbered in turn
_OTHER_DATA = tuple(bytes(random.Random(seed).choices(range(255), k=1000)) for seed in (1, 2))  # hold no marker


def png_without_metadata(data: bytes) -> bytes:
    """A PNG with only the chunks that its pixels need; a file that is no PNG is returned unchanged.

    Text, colour profiles and the further frames of an animation are in chunks that a reader may skip by the standard:
    their names begin with a small letter. They are neither unpacked nor are their checksums looked at.
    """
    if not data.startswith(PNG_SIGNATURE):
        return data
    view, start = memoryview(data), len(PNG_SIGNATURE)
    needed = [view[:start]]
    while start + 12 <= len(data):
        length, first_letter = struct.unpack_from(">IB", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        if not first_letter & 0x20:
            needed.append(view[start:end])
        start = end
        if data[end - 8 - length : end - 4 - length] == b"IEND":
            return data if sum(map(len, needed)) == len(data) else b"".join(needed)
    return b"".join([*needed, view[start:]])  # what is left of a chunk that was cut, for the decoder to complain of


@dataclass(frozen=True)
class JpegLayout:
    """What a walk along the markers of a JPEG finds, up to the end of its image.

    Attributes:
      scans: passes over the pixels.
      ends: whether the image has its end marker.
      refined: whether the scans begun bring every coefficient of every component to its last bit.
    """

    scans: int
    ends: bool
    refined: bool


def jpeg_layout(data: bytes) -> JpegLayout:
    """Walks along the markers of a JPEG; what lies behind the end of the image, such as a video, is not looked at."""
    scans, components, place, ends = 0, 0, len(JPEG_START), False
    refined: set[tuple[int, int]] = set()  # component, coefficient
    while not ends and (marker := _MARKER.search(data, place)):
        code, place = marker[1][0], marker.end()
        length = int.from_bytes(data[place : place + 2])
        segment = data[place + 2 : place + length]
        if code in FRAME_HEADERS:
            components = int.from_bytes(segment[5:6])
        elif code == 0xDA:
            scans += 1
            if len(segment) >= 4 and not segment[-1] & 0x0F:  # the bits that this scan leaves to later ones
                refined |= {(component, k) for component in segment[1:-3:2] for k in range(segment[-3], segment[-2] + 1)}
        ends = code == JPEG_END[1]
        place += length  # the compressed data of a scan has no marker of a segment in it
    return JpegLayout(scans, ends, refined=len(refined) == 64 * components)


def decodes_in_one_pass(data: bytes, scan: int, *, components: int) -> bool:
    """Whether a JPEG that is not progressive has all its pixels in its first scan, and its end marker in its last two bytes.

    That is told without a walk along the data: the decoder of such a file never comes to a second scan.

    Args:
      data: the file.
      scan: where the compressed data of the first scan begins.
      components: of the image, such as 3.
    """
    header = scan - 2 * components - 8
    start = JPEG_SCAN + (2 * components + 6).to_bytes(2) + bytes([components])
    return header > 0 and data.startswith(start, header) and data.endswith(JPEG_END)


def jpeg_with_its_end(data: bytes) -> bytes:
    """A JPEG that lost its end marker, with the marker put back if nothing else is missing, otherwise unchanged.

    Nothing is missing if no scan is, and if the pixels are the same whether the end or other data follows. Raises
    whatever PIL does for a file that it cannot decode at all.
    """
    data_only = data.removesuffix(JPEG_END[:1])
    whole = data_only + JPEG_END
    if not jpeg_layout(data).refined:
        return data
    others = (data_only + _other_data(data_only, stretch) + JPEG_END for stretch in _OTHER_DATA)
    return whole if len({_fingerprint(whole), *map(_fingerprint, others)}) == 1 else data


def _other_data(data: bytes, stretch: bytes) -> bytes:
    """What might have followed the data: `stretch` in the current interval of the scan, and in each of those after it."""
    restarts = _RESTART.findall(data, data.rfind(b"\xff\xda"))
    following = restarts[-1][0] + 1 if restarts else 0xD0
    return stretch + b"".join(bytes([0xFF, 0xD0 + (following + turn) % 8]) + stretch for turn in range(8))


def _fingerprint(data: bytes) -> int:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return zlib.crc32(image.tobytes())
