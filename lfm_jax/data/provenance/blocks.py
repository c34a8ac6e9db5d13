"""The pieces of an image file that hold metadata, found by walking its container. No pixel is decoded.

The walk is bounded in steps, in the bytes that it keeps, and in what it unpacks; a damaged container ends it early.
"""

import itertools
import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from lfm_jax.data.containers import JPEG_START, PNG_SIGNATURE
from lfm_jax.data.provenance import exif

MAX_STEPS = 1 << 16  # chunks, segments or boxes walked over
MAX_BLOCK = 1 << 18  # bytes of one piece, as stored and as unpacked
MAX_BLOCKS = 64
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_WEBP = {b"EXIF": "exif", b"XMP ": "xmp", b"C2PA": "c2pa"}


Buffer = bytes | mmap.mmap


class Block(NamedTuple):
    """A piece of metadata: kind "text", "exif", "xmp", "c2pa" or "comment", the keyword of a text, and its bytes."""

    kind: str
    keyword: str
    content: bytes


def blocks_of(data: Buffer) -> Iterator[Block]:
    """The metadata of a PNG, JPEG, WebP, GIF, TIFF, or of the boxes of an MP4 or its kin; nothing for other files."""
    walk = (
        _png if data[:8] == PNG_SIGNATURE
        else _jpeg if data[:2] == JPEG_START
        else _webp if data[:4] == b"RIFF"
        else _gif if data[:4] == b"GIF8"
        else _boxes if data[4:8] == b"ftyp"
        else _tiff if data[:4] in (b"II*\0", b"MM\0*")
        else None
    )  # fmt: skip
    yield from itertools.islice(walk(data) if walk else (), MAX_BLOCKS)


def _png(data: Buffer) -> Iterator[Block]:
    place = len(PNG_SIGNATURE)
    for _ in range(MAX_STEPS):
        if place + 12 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + min(length, MAX_BLOCK)]
        place += 12 + length
        if name == b"eXIf":
            yield Block("exif", "", content)
        elif name == b"caBX":
            yield Block("c2pa", "", content)
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, rest = content.partition(b"\0")
            text = _png_text(name, rest)
            kind = "xmp" if keyword == b"XML:com.adobe.xmp" else "text"
            yield Block(kind, keyword[:79].decode("latin-1"), text)
        elif name == b"IEND":
            return


def _png_text(name: bytes, rest: bytes) -> bytes:
    """The text of a chunk as UTF-8, unpacked if it is packed."""
    if name == b"tEXt":
        return _as_utf8(rest)
    if name == b"zTXt":
        return _as_utf8(_unpacked(rest[1:]))
    packed = rest[:1] == b"\1"
    text = rest[2:].split(b"\0", 2)[-1]  # behind the language and the translated keyword
    return _unpacked(text) if packed else text


def _as_utf8(text: bytes) -> bytes:
    """Latin-1, which the standard asks for, as UTF-8; what is UTF-8 already, as many tools write, is left alone."""
    try:
        text.decode()
        return text
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()


def _unpacked(packed: bytes) -> bytes:
    """At most MAX_BLOCK bytes of zlib data, as far as it can be unpacked."""
    try:
        return zlib.decompressobj().decompress(packed, MAX_BLOCK)
    except zlib.error:
        return b""


def _jpeg(data: Buffer) -> Iterator[Block]:
    """The segments before the first scan. The parts of a C2PA manifest are joined."""
    place, manifest = len(JPEG_START), b""
    for _ in range(MAX_STEPS):
        if place + 4 > len(data) or data[place] != 0xFF:
            break
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in (0xDA, 0xD9) or length < 2:
            break
        content = data[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == 0xE1 and content.startswith(_EXIF):
            yield Block("exif", "", content[len(_EXIF) :])
        elif marker == 0xE1 and content.startswith(_XMP):
            yield Block("xmp", "", content[len(_XMP) :])
        elif marker == 0xFE:
            yield Block("comment", "", content)
        elif marker == 0xEB and content[:2] == b"JP" and len(manifest) < MAX_BLOCK:
            manifest += content[8:] if not manifest else content[16:]  # the box's length and type are repeated
    if b"c2pa" in manifest:
        yield Block("c2pa", "", manifest)


def _webp(data: Buffer) -> Iterator[Block]:
    place = 12
    for _ in range(MAX_STEPS):
        if place + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, place)
        if name in _WEBP:
            content = data[place + 8 : place + 8 + min(length, MAX_BLOCK)]
            yield Block(_WEBP[name], "", content.removeprefix(_EXIF))
        place += 8 + length + length % 2


def _boxes(data: Buffer) -> Iterator[Block]:
    """The boxes of the outermost level, where C2PA has its own. Exif and XMP of an image are items inside, left to its decoder."""
    place = 0
    for _ in range(MAX_STEPS):
        if place + 16 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        if name == b"uuid" and data[place + head : place + head + 16] == C2PA_UUID:
            yield Block("c2pa", "", data[place + head + 16 : place + min(length or MAX_BLOCK, MAX_BLOCK)])
        if length < head:  # 0: up to the end of the file
            return
        place += length


def _gif(data: Buffer) -> Iterator[Block]:
    """The extensions before the first picture."""
    place = 13 + _colour_table(data[10:11])
    for _ in range(MAX_STEPS):
        kind, label = data[place : place + 1], data[place + 1 : place + 2]
        if kind != b"!":
            return
        place, parts = _sub_blocks(data, place + 2)
        content = b"".join(parts)
        if label == b"\xfe":
            yield Block("comment", "", content)
        elif label == b"\xff" and parts and parts[0] == b"C2PA_GIF\1\0\0":
            yield Block("c2pa", "", content[11:])


def _colour_table(flags: bytes) -> int:
    """Bytes of the table that the flags announce."""
    return 3 << (flags[0] % 8 + 1) if flags and flags[0] & 0x80 else 0


def _sub_blocks(data: Buffer, place: int) -> tuple[int, list[bytes]]:
    """The parts of an extension, of up to 255 bytes each, and the place behind it; parts beyond MAX_BLOCK bytes are passed over."""
    parts, kept = list[bytes](), 0
    for _ in range(MAX_STEPS):
        size = int.from_bytes(data[place : place + 1])
        place += 1
        if size == 0:
            break
        if kept < MAX_BLOCK:
            parts.append(data[place : place + size])
        kept, place = kept + size, place + size
    return place, parts


def _tiff(data: Buffer) -> Iterator[Block]:
    yield Block("exif", "", data[:])
    if manifest := exif.read_exif(data[:]).get(exif.C2PA):
        yield Block("c2pa", "", manifest)
