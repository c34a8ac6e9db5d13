"""Image files damaged at random, each a pure function of its number, and a program that decodes a range of them.

`python damaged_images.py START STOP` prints "at NUMBER" before each file and one JSON line at the end: how many were
decoded and refused, what went wrong, and the peak of memory. A file that takes too long ends it with a traceback, a
crash ends it without one.
"""

import collections
import faulthandler
import functools
import io
import json
import resource
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from lfm_jax.data.images import ImageError, decode_bytes

SECONDS_PER_FILE = 10
ADDRESS_SPACE = 6 << 30
KINDS = {  # of intact files: PIL's mode and format, and the options to save with
    "png": ("RGB", "PNG", {}),
    "png-rgba": ("RGBA", "PNG", {}),
    "png-palette": ("P", "PNG", {}),
    "png-grey": ("L", "PNG", {}),
    "png-16bit": ("I;16", "PNG", {}),
    "jpeg": ("RGB", "JPEG", {"quality": 80}),
    "jpeg-progressive": ("RGB", "JPEG", {"quality": 60, "progressive": True, "subsampling": 0}),
    "jpeg-grey": ("L", "JPEG", {"restart_marker_blocks": 2}),
    "jpeg-cmyk": ("CMYK", "JPEG", {}),
    "webp": ("RGB", "WEBP", {"quality": 70}),
    "webp-lossless": ("RGBA", "WEBP", {"lossless": True}),
    "webp-animated": ("RGB", "WEBP", {"save_all": True}),
    "gif": ("P", "GIF", {}),
    "gif-animated": ("RGB", "GIF", {"save_all": True}),
    "tiff": ("RGB", "TIFF", {}),
    "tiff-lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("RGBA", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff-jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
    "tiff-packbits": ("L", "TIFF", {"compression": "packbits"}),
    "tiff-group4": ("1", "TIFF", {"compression": "group4"}),
    "bmp": ("RGB", "BMP", {}),
    "bmp-palette": ("P", "BMP", {}),
    "bmp-rle": ("P", "BMP", {}),  # see `run_length`
}
MARKERS = tuple(b"\xff" + bytes([low]) for low in (0xC0, 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE1, 0xE2, 0xEE, 0xFE)) + (
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT", b"eXIf"),
    *(b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"GIF89a", b"\x21\xf9\x04", b"\x2c"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"BM"),
)
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@functools.cache
def intact(kind: str, variant: int) -> bytes:
    """An intact file to start from: an image with sides of 24 to 48 px, smooth or noisy by variant."""
    mode, container, options = KINDS[kind]
    rng = np.random.default_rng((variant, *kind.encode()))
    width, height = (int(side) for side in rng.integers(24, 49, 2))
    if mode == "I;16":
        frames = [Image.fromarray(rng.integers(0, 1 << 16, (height, width)).astype(np.uint16))]
    else:
        coarse = rng.integers(0, 256, (3, *((height, width) if variant % 2 else (4, 4)), 4), dtype=np.uint8)
        frames = [Image.fromarray(plane, "RGBA").resize((width, height)).convert("RGB").convert(mode) for plane in coarse]
    more = {"append_images": frames[1:]} if options.get("save_all") else {}
    file = io.BytesIO()
    frames[0].save(file, container, **options, **more)
    return run_length(file.getvalue(), frames[0]) if kind == "bmp-rle" else file.getvalue()


def run_length(bmp: bytes, image: Image.Image) -> bytes:
    """Re-encodes a palette BMP with run lengths, which PIL reads but does not write: runs of one, end of line, end of bitmap."""
    rows = np.asarray(image)[::-1]
    runs = b"".join(b"".join(bytes([1, pixel]) for pixel in row) + b"\0\0" for row in rows) + b"\0\1"
    header = bytearray(bmp[: int.from_bytes(bmp[10:14], "little")])
    header[30:34] = (1).to_bytes(4, "little")  # biCompression: BI_RLE8
    return bytes(header) + runs


def flip_bits(data, rng):
    for place in rng.integers(0, len(data), rng.integers(1, 5)):
        data[place] ^= 1 << rng.integers(8)


def truncate(data, rng):
    del data[rng.integers(1, len(data)) :]


def edit_header(data, rng):
    """Replaces a number of one, two or four bytes near the start, of either endianness, by an extreme one."""
    for _ in range(rng.integers(1, 3)):
        size = int(rng.choice([1, 2, 4]))
        value = int(rng.choice(EXTREMES)) % (1 << 8 * size)
        place = int(rng.integers(0, min(len(data), 64 if rng.random() < 0.7 else len(data))))
        data[place : place + size] = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")


def splice(data, rng):
    """Repeats, removes or moves a stretch of bytes."""
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 200))
    stretch = data[start : start + length]
    if rng.random() < 0.7:
        del data[start : start + length]
    place = int(rng.integers(0, len(data) + 1))
    data[place:place] = stretch * int(rng.choice([0, 1, 1, 2, 50]))


def put_markers(data, rng):
    for _ in range(rng.integers(1, 4)):
        place, marker = int(rng.integers(0, len(data))), MARKERS[rng.integers(len(MARKERS))]
        data[place : place + len(marker) * int(rng.integers(2))] = marker


def cross(data, rng):
    """Joins the start of this file to the end of another."""
    other = intact(list(KINDS)[rng.integers(len(KINDS))], int(rng.integers(4)))
    data[rng.integers(1, len(data)) :] = other[rng.integers(1, len(other)) :]


def mend_checksums(data):
    """Corrects the checksums of a PNG's chunks, so that the damage gets past them."""
    place = len(b"\x89PNG\r\n\x1a\n")
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4)
        place = end + 4


DAMAGES = (flip_bits, truncate, edit_header, edit_header, splice, put_markers, cross)


def damaged(number: int) -> tuple[bytes, str]:
    """The file of that number, and in words how it was made."""
    rng = np.random.default_rng(number)
    kind, variant = list(KINDS)[number % len(KINDS)], int(rng.integers(4))
    data, steps = bytearray(intact(kind, variant)), []
    for step in rng.choice(len(DAMAGES), rng.choice([1, 1, 2, 3])):
        if data:
            DAMAGES[step](data, rng)
            steps.append(DAMAGES[step].__name__)
    if kind.startswith("png") and rng.random() < 0.7:
        mend_checksums(data)
        steps.append(mend_checksums.__name__)
    return bytes(data), f"file {number}: {kind} variant {variant}, {' then '.join(steps)}, {len(data)} bytes"


def peak_bytes() -> int:
    """Peak memory of this program alone; getrusage's still includes that of the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.read_text().split("VmHWM:")[1].split()[0]) << 10


def main(start: int, stop: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    counts: collections.Counter[str] = collections.Counter()
    wrong = []
    for number in range(start, stop):
        data, recipe = damaged(number)
        print("at", number, flush=True)
        faulthandler.dump_traceback_later(SECONDS_PER_FILE, exit=True)
        try:
            image = decode_bytes(data)
            assert image.mode == "RGB" and len(image.tobytes()) == 3 * image.width * image.height
            counts["decoded"] += 1
        except ImageError as error:
            counts["refused"] += 1
            if not str(error).strip() or "\n" in str(error):
                wrong.append(f"{recipe}: refused with the reason {str(error)!r}")
        except BaseException as error:
            wrong.append(f"{recipe}: {type(error).__name__}: {error}")
        faulthandler.cancel_dump_traceback_later()
    print(json.dumps({**counts, "wrong": wrong, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
