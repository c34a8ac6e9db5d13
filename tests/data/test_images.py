"""Decoding: every good file exactly as PIL reads it, every bad one refused with a reason."""

import struct
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data.formats import IMAGE_SUFFIXES
from lfm_jax.data.images import ImageError, decode
from tests.helpers.image_files import animated, frames, saved, written
from tests.helpers.without import run_without


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
