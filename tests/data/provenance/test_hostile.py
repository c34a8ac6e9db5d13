"""Metadata made to hurt: bombs, lies and noise. It costs little time and memory, and an answer always comes."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data.provenance import GENERATED, provenance_of
from tests.helpers import damaged_images

SECONDS, PEAK = 1.0, 64 << 20


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*chunks):
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    return data.getvalue()[:33] + b"".join(chunks) + data.getvalue()[33:]


def jpeg(*segments):
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "JPEG")
    body = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content for marker, content in segments)
    return data.getvalue()[:2] + body + data.getvalue()[2:]


def tiff(entries, tail=b""):
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *one) for one in entries) + tail


def xmp(packet):
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)


BOMB = zlib.compress(bytes(200 << 20), 9)
LAUGHS = (
    b'<!DOCTYPE a [<!ENTITY a "ha">' + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)) + b"]>"
)
HOSTILE = {
    "a bomb in zTXt": lambda: png(chunk(b"zTXt", b"parameters\0\0" + BOMB)),
    "a bomb in iTXt": lambda: png(chunk(b"iTXt", b"prompt\0\1\0\0\0" + BOMB)),
    "a bomb of XMP": lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)),
    "huge text": lambda: png(chunk(b"tEXt", b"parameters\0" + b"Steps: " * (4 << 20))),
    "a million empty chunks": lambda: png(chunk(b"tEXt", b"") * 1_000_000),
    "a thousand texts": lambda: png(*(chunk(b"tEXt", b"Software\0" + b"x" * 100_000) for _ in range(300))),
    "entities that grow": lambda: png(xmp(LAUGHS + b"<x>&j;</x>")),
    "an external entity": lambda: png(
        xmp(b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><CreatorTool>&x;</CreatorTool></a>')
    ),
    "deep XML": lambda: png(xmp(b"<a>" * 60_000)),
    "deep, well-formed XML": lambda: png(xmp(b"<a>" * 30_000 + b"</a>" * 30_000)),
    "XML of many attributes": lambda: png(xmp(b"<a>" + b'<b DigitalSourceType="x"/>' * 9_000 + b"</a>")),
    "XML of an odd encoding": lambda: png(xmp(b'<?xml version="1.0" encoding="utf-77"?><a/>')),
    "binary in place of XML": lambda: jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(range(256)) * 200)),
    "EXIF that overlaps": lambda: jpeg((0xE1, b"Exif\0\0" + tiff([(0x0131, 2, 60_000, 8)] * 5_000))),
    "EXIF that points at itself": lambda: jpeg((0xE1, b"Exif\0\0" + tiff([(0x8769, 4, 1, 8)] * 100))),
    "EXIF without an end": lambda: jpeg((0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff")),
    "EXIF that points outside": lambda: jpeg((0xE1, b"Exif\0\0" + tiff([(0x010F, 2, 2**32 - 1, 2**32 - 1)]))),
    "a manifest of noise": lambda: png(chunk(b"caBX", b"jumbc2pa" + np.random.default_rng(0).bytes(1 << 20))),
    "a JPEG manifest of noise": lambda: jpeg(*[(0xEB, b"JP\0\1\0\0\0\1" + b"c2pa" + bytes(60_000))] * 100),
    "padding without an end": lambda: b"\xff\xd8" + b"\xff" * (8 << 20),
    "boxes of no length": lambda: b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + b"\0\0\0\1uuid" + bytes(64),
    "boxes of one byte": lambda: b"\0\0\0\x18ftypisom\0\0\0\0isomisom" + b"\0\0\0\x08free" * 1_000_000,
    "a chunk longer than the file": lambda: b"RIFF\xff\xff\xff\xffWEBP" + b"EXIF\xff\xff\xff\xff" + b"II*\0",
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_hostile_metadata_costs_little_and_never_raises(make):
    data = make()
    provenance_of(b"\x89PNG\r\n\x1a\n")  # what is loaded once is loaded
    tracemalloc.start()
    start = time.process_time()
    provenance = provenance_of(data)
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < SECONDS * 4  # tracemalloc slows Python down
    assert peak < PEAK
    assert len(provenance.findings) <= 16
    assert len(provenance.line()) < 8_000
    assert "root:" not in provenance.line()


def test_of_many_manifests_one_is_looked_at():
    """Each check hashes the whole file."""
    provenance = provenance_of(png(*[chunk(b"caBX", b"jumbc2pa%d" % number) for number in range(60)]))
    assert [one.kind for one in provenance.findings] == ["c2pa"]


def test_what_a_file_says_is_safe_to_print():
    text = "Steps: 20, Sampler: \x1b]0;owned\x07\x9b2J\r\n\u202egnp.exe \ud800".encode("utf-8", "surrogatepass")
    provenance = provenance_of(png(chunk(b"iTXt", b"parameters\0\0\0\0\0" + text)))
    assert provenance.claim == GENERATED
    assert provenance.line().isprintable()
    assert provenance.findings[0].excerpt.isprintable()


def test_odd_encodings_are_read_as_far_as_they_go():
    latin = provenance_of(png(chunk(b"tEXt", "Software\0Pfützen & Söhne".encode("latin-1"))))
    assert latin.findings[0].says == "written by Pfützen & Söhne"
    assert provenance_of(png(chunk(b"tEXt", "Software\0Pfützen & Söhne".encode()))) == latin


def test_two_thousand_damaged_files_get_an_answer():
    rng = np.random.default_rng(0)
    for number in range(2_000):
        data = bytearray(damaged_images.damaged(number)[0])
        if number % 2 and len(data) > 40:  # metadata of noise in the middle of it
            place = int(rng.integers(2, len(data)))
            data[place:place] = b"\xff\xe1\0\x40Exif\0\0" + rng.bytes(56)
        provenance_of(bytes(data))
