"""Files made to exhaust memory, time or the program that opens them: refused from their headers, or harmless."""

import os
import struct
import subprocess
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lfm_jax.data import images
from lfm_jax.data.formats import IMAGE_SUFFIXES
from lfm_jax.data.images import ImageError, decode
from tests.helpers.image_files import animated, saved, written


@pytest.fixture
def never_decoded(monkeypatch):
    """Fails the test if anything is decoded, with PIL's own limit switched off."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize(("limit", "value"), [("MAX_PIXELS", 40 * 60 - 1), ("MAX_SIDE", 59)])
def test_a_file_over_the_limits_by_its_header_is_refused_without_decoding(
    suffix, limit, value, tmp_path, noise, monkeypatch, request
):
    path = saved(tmp_path, noise(40, 60), suffix)
    request.getfixturevalue("never_decoded")
    monkeypatch.setattr(images, limit, value)
    with pytest.raises(ImageError, match=f"refused before decoding: 60 x 40 = 2400 pixels .* limit .*{value}"):
        decode(path)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_is_held_to_the_limits_too(suffix, tmp_path, monkeypatch, request):
    path = animated(tmp_path, suffix)
    request.getfixturevalue("never_decoded")
    monkeypatch.setattr(images, "MAX_PIXELS", 21 * 17 - 1)
    with pytest.raises(ImageError, match="21 x 17 = 357 pixels"):
        decode(path)


def test_a_file_just_within_the_limits_is_decoded(tmp_path, noise, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 40 * 60)
    monkeypatch.setattr(images, "MAX_SIDE", 60)
    assert decode(saved(tmp_path, noise(40, 60), ".png")).size == (60, 40)


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (1, 70_000)])
def test_a_header_that_promises_gigapixels_is_refused(width, height, tmp_path, noise, never_decoded):
    content = with_png_header(saved(tmp_path, noise(5, 7), ".png").read_bytes(), width, height)
    with pytest.raises(ImageError, match=f"refused before decoding: {width} x {height}"):
        decode(written(tmp_path, "bomb.png", content))


def with_png_header(content, width, height):
    header = content[12:16] + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def test_a_jpeg_of_endless_scans_is_refused_and_an_honest_progressive_one_is_not(tmp_path):
    """Each scan takes twelve bytes and costs a pass over all pixels: a megabyte of them takes an hour."""
    honest = saved(tmp_path, Image.new("L", (1024, 1024)), ".jpg", progressive=True)
    content = honest.read_bytes()
    last_scan = content[content.rindex(b"\xff\xda") : -2]
    assert decode(honest).size == (1024, 1024)
    with pytest.raises(ImageError, match=r"refused before decoding: 50\d\d scans of 1024 x 1024"):
        decode(written(tmp_path, "scans.jpg", content[:-2] + 5000 * last_scan + content[-2:]))


def test_a_run_length_bmp_has_a_limit_of_its_own(tmp_path, monkeypatch):
    """Each row is one pixel and "end of line"; PIL fills in the rest in Python, pixel by pixel."""
    rows, palette = b"\1\1\0\0" * 8 + b"\0\1", bytes(4 * 256)
    start = 14 + 40 + len(palette)
    header = struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start)
    header += struct.pack("<IiiHHIIiiII", 40, 500, 8, 1, 8, 1, len(rows), 0, 0, 256, 0)
    path = written(tmp_path, "runs.bmp", header + palette + rows)
    monkeypatch.setattr(images, "MAX_RLE_PIXELS", 500 * 8)
    assert decode(path).size == (500, 8)
    monkeypatch.setattr(images, "MAX_RLE_PIXELS", 500 * 8 - 1)
    with pytest.raises(ImageError, match="refused before decoding: 500 x 8"):
        decode(path)


@pytest.mark.parametrize("name", [b"zTXtnote\0\0", b"iCCPnote\0\0", b"iTXtnote\0\1\0\0\0"], ids=lambda name: name[:4].decode())
def test_a_chunk_that_swells_is_not_unpacked(name, tmp_path, noise):
    content = saved(tmp_path, noise(5, 7), ".png").read_bytes()
    path = written(tmp_path, "swelling.png", with_chunk(content, name + zlib.compress(bytes(1 << 26))))
    tracemalloc.start()
    image = decode(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24
    np.testing.assert_array_equal(np.asarray(image), np.asarray(noise(5, 7)))


def with_chunk(png, chunk):
    """A PNG with one more chunk behind its header."""
    return png[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def test_long_text_in_a_png_does_not_matter(tmp_path, noise):
    text = PngInfo()
    text.add_text("workflow", "node " * 500_000)
    path = saved(tmp_path, noise(5, 7), ".png", pnginfo=text)
    np.testing.assert_array_equal(np.asarray(decode(path)), np.asarray(noise(5, 7)))


def test_no_program_is_started_for_a_file(tmp_path, monkeypatch):
    """PIL hands PostScript to Ghostscript."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(ImageError, match="not an image file of a format read here"):
        decode(written(tmp_path, "photo.png", postscript))


def test_a_pipe_or_device_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "endless.png"):
        with pytest.raises(ImageError, match="a pipe or a device"):
            decode(tmp_path / name)
