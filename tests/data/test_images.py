"""Decoding: every good file exactly as PIL reads it, every bad one refused with a reason."""

import os
import struct
import subprocess
import threading
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lfm_jax.data import images
from lfm_jax.data.images import IMAGE_SUFFIXES, ImageError, decode
from tests.helpers.without import run_without


def frames(count=3, mode="RGB", size=(21, 17)):
    """Images that share no pixel value with each other."""
    rng = np.random.default_rng(0)
    planes = [rng.integers(80 * i, 80 * i + 80, (size[1], size[0], 3), dtype=np.uint8) for i in range(count)]
    return [Image.fromarray(plane).convert(mode) for plane in planes]


def animated(folder, suffix, **options):
    first, *others = frames()
    first.save(folder / f"moving{suffix}", save_all=True, append_images=others, duration=50, **options)
    return folder / f"moving{suffix}"


def saved(folder, image, suffix, **options):
    if suffix in (".heic", ".heif"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    image.save(folder / f"image{suffix}", **options)
    return folder / f"image{suffix}"


def with_alpha(noise, mode):
    image = noise(17, 21).convert(mode)
    image.putalpha(noise(17, 21, seed=1).convert("L"))
    return image


def rotated_exif():
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me by 90 degrees"
    return exif


GOOD = {
    "RGB PNG": lambda folder, noise: saved(folder, noise(17, 21), ".png"),
    "JPEG of odd size": lambda folder, noise: saved(folder, noise(17, 21), ".jpg", quality=80),
    "JPEG of one pixel": lambda folder, noise: saved(folder, noise(1, 1), ".jpg"),
    "CMYK JPEG": lambda folder, noise: saved(folder, noise(17, 21).convert("CMYK"), ".jpg"),
    "grey JPEG": lambda folder, noise: saved(folder, noise(17, 21).convert("L"), ".jpg"),
    "grey PNG": lambda folder, noise: saved(folder, noise(17, 21).convert("L"), ".png"),
    "1-bit PNG": lambda folder, noise: saved(folder, noise(17, 21).convert("1"), ".png"),
    "palette PNG": lambda folder, noise: saved(folder, noise(17, 21).quantize(16), ".png"),
    "palette PNG, one colour transparent": lambda folder, noise: saved(folder, noise(17, 21).quantize(16), ".png", transparency=3),
    "palette PNG, colours half transparent": lambda folder, noise: saved(
        folder, noise(17, 21).quantize(16), ".png", transparency=bytes(range(0, 256, 16))
    ),
    "RGBA PNG": lambda folder, noise: saved(folder, with_alpha(noise, "RGB"), ".png"),
    "LA PNG": lambda folder, noise: saved(folder, with_alpha(noise, "L"), ".png"),
    "RGBA WebP": lambda folder, noise: saved(folder, with_alpha(noise, "RGB"), ".webp", lossless=True),
    "TIFF": lambda folder, noise: saved(folder, noise(17, 21), ".tif"),
    "BMP": lambda folder, noise: saved(folder, noise(17, 21), ".bmp"),
    "animated GIF": lambda folder, noise: animated(folder, ".gif"),
    "animated WebP": lambda folder, noise: animated(folder, ".webp", lossless=True),
    "animated PNG": lambda folder, noise: animated(folder, ".png"),
    "HEIC": lambda folder, noise: saved(folder, noise(18, 22), ".heic", quality=90),
    "RGBA HEIC": lambda folder, noise: saved(folder, with_alpha(noise, "RGB"), ".heic", quality=90),
    "AVIF": lambda folder, noise: saved(folder, noise(17, 21), ".avif", quality=90),
    "RGBA AVIF": lambda folder, noise: saved(folder, with_alpha(noise, "RGB"), ".avif", quality=90),
    "JPEG turned by EXIF": lambda folder, noise: saved(folder, noise(17, 21), ".jpg", exif=rotated_exif()),
}


@pytest.mark.parametrize("write", GOOD.values(), ids=GOOD)
def test_a_good_file_is_decoded_as_pil_converts_it_to_rgb(write, tmp_path, noise):
    path = write(tmp_path, noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = Image.open(path).convert("RGB")
        image = decode(path)
    assert image.mode == "RGB"
    assert image.size == expected.size
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_a_path_may_be_a_string(tmp_path, noise):
    path = saved(tmp_path, noise(5, 7), ".png")
    np.testing.assert_array_equal(np.asarray(decode(str(path))), np.asarray(noise(5, 7)))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_gives_its_first_frame(suffix, tmp_path):
    path = animated(tmp_path, suffix, **({"lossless": True} if suffix == ".webp" else {}))
    assert Image.open(path).n_frames == 3
    assert np.asarray(decode(path)).max() < 80
    if suffix != ".gif":  # GIF has a palette
        np.testing.assert_array_equal(np.asarray(decode(path)), np.asarray(frames()[0]))


def test_exif_orientation_is_ignored(tmp_path, noise):
    turned = saved(tmp_path, noise(17, 21), ".jpg", exif=rotated_exif())
    assert Image.open(turned).getexif()[0x0112] == 6
    image = np.asarray(decode(turned))
    assert image.shape == (17, 21, 3)
    np.testing.assert_array_equal(image, np.asarray(decode(saved(tmp_path, noise(17, 21), ".jpg"))))


def test_heic_is_as_it_is_shown_and_avif_as_it_is_stored(tmp_path, noise):
    """The decoder of HEIC turns the picture itself; in AVIF the turn is for the viewer, as EXIF's is."""
    shapes = {
        s: np.asarray(decode(saved(tmp_path, noise(64, 96), s, exif=rotated_exif().tobytes()))).shape for s in (".heic", ".avif")
    }
    assert shapes == {".heic": (96, 64, 3), ".avif": (64, 96, 3)}


def test_heic_without_its_library_is_refused_with_the_extra_to_install(tmp_path, noise):
    path = saved(tmp_path, noise(64, 64), ".heic")
    code = """
from lfm_jax.data.images import ImageError, decode
try:
    decode(sys.argv[1])
except ImageError as error:
    print(error)
"""
    assert "pip install 'lfm_jax[heif]'" in run_without(["pillow_heif"], code, path)


def test_transparency_neither_hides_nor_blends_pixels(tmp_path, noise):
    path = saved(tmp_path, with_alpha(noise, "RGB"), ".png")
    np.testing.assert_array_equal(np.asarray(decode(path)), np.asarray(noise(17, 21)))


def test_the_format_is_told_by_the_content_not_by_the_suffix(tmp_path, noise):
    noise(17, 21).save(tmp_path / "really_a_png.jpg", format="PNG")
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "really_a_png.jpg")), np.asarray(noise(17, 21)))


def written(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


def cut(folder, noise, suffix, share):
    path = saved(folder, noise(64, 64), suffix)
    content = path.read_bytes()
    return written(folder, f"cut{suffix}", content[: int(len(content) * share)])


BAD = {
    "zero bytes": (lambda folder, noise: written(folder, "a.png", b""), "empty file"),
    "PNG cut in the middle": (lambda folder, noise: cut(folder, noise, ".png", 0.5), "truncated"),
    "PNG cut near the end": (lambda folder, noise: cut(folder, noise, ".png", 0.95), "truncated"),
    "JPEG cut in the middle": (lambda folder, noise: cut(folder, noise, ".jpg", 0.5), "truncated"),
    "JPEG cut in its header": (lambda folder, noise: cut(folder, noise, ".jpg", 0.02), "(?i)truncated"),
    "text named .jpg": (lambda folder, noise: written(folder, "a.jpg", b"<html>404 Not Found</html>"), "not an image"),
    "missing file": (lambda folder, noise: folder / "missing.png", "No such file"),
    "folder": (lambda folder, noise: folder, "(?i)is a directory"),
}


@pytest.mark.parametrize(("write", "reason"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_with_the_reason(write, reason, tmp_path, noise):
    path = write(tmp_path, noise)
    with pytest.raises(ImageError, match=reason) as error:
        decode(path)
    assert str(path) not in str(error.value)  # the caller adds the path when it reports the reason
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_damaged_bytes_never_raise_anything_else(suffix, tmp_path, noise):
    intact = saved(tmp_path, noise(40, 40), suffix).read_bytes()
    rng = np.random.default_rng(0)
    for attempt in range(20):
        content = bytearray(intact[: rng.integers(1, len(intact))] if attempt % 2 else intact)
        for position in rng.integers(0, len(content), 8):
            content[position] = rng.integers(256)
        path = written(tmp_path, f"damaged{suffix}", bytes(content))
        try:
            assert decode(path).mode == "RGB"
        except ImageError as reason:
            assert str(reason)


@pytest.mark.parametrize("fault", [ValueError, SyntaxError, struct.error, IndexError, KeyError, ZeroDivisionError, MemoryError])
def test_whatever_a_parser_raises_is_blamed_on_the_one_file(fault, tmp_path, noise, monkeypatch):
    def stumble(*_, **__):
        raise fault("in tile 3")

    path = saved(tmp_path, noise(5, 7), ".png")
    monkeypatch.setattr(Image, "open", stumble)
    with pytest.raises(ImageError, match=f"{fault.__name__}.*in tile 3"):
        decode(path)


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


def test_decoding_in_threads_does_not_change_the_warning_filters(tmp_path, noise, monkeypatch):
    """Two decodes that overlap, neither nested in the other."""
    path, open_image = saved(tmp_path, noise(5, 7), ".png"), Image.open
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def open_in_turn(file, **options):
        if threading.current_thread().name == "first":
            first_is_in.set()
            second_is_in.wait(30)
        else:
            second_is_in.set()
            first_is_out.wait(30)
        return open_image(file, **options)

    def first():
        decode(path)
        first_is_out.set()

    def second():
        first_is_in.wait(30)
        decode(path)

    before = list(warnings.filters)
    monkeypatch.setattr(Image, "open", open_in_turn)
    threads = [threading.Thread(target=first, name="first"), threading.Thread(target=second, name="second")]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = list(warnings.filters)
    finally:
        warnings.filters[:] = before
    assert after == before
