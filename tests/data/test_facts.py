"""What a file says before its pixels, and that a decoded image carries it as far as it holds."""

import io

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data import views
from lfm_jax.data.facts import LOSSLESS, FileFacts, carried
from lfm_jax.data.images import as_rgb, decode_bytes


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("format", "options", "facts", "words", "kind"),
    [
        ("PNG", {}, FileFacts("PNG"), "PNG", LOSSLESS),
        ("BMP", {}, FileFacts("BMP"), "BMP", LOSSLESS),
        ("JPEG", {"quality": 83}, FileFacts("JPEG", 83, lossy=True), "JPEG 83", "JPEG"),
        ("WEBP", {"quality": 83}, FileFacts("WebP", lossy=True), "WebP", "WebP"),
        ("WEBP", {"lossless": True}, FileFacts("WebP"), "WebP (lossless)", LOSSLESS),
        ("WEBP", {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}, FileFacts("WebP"), "WebP (lossless)", LOSSLESS),
        ("GIF", {}, FileFacts("GIF", lossy=True), "GIF", "GIF"),
        ("TIFF", {"compression": "jpeg"}, FileFacts("JPEG", None, lossy=True), "JPEG", "JPEG"),
        ("TIFF", {}, FileFacts("TIFF"), "TIFF", LOSSLESS),
    ],
)
def test_a_decoded_image_carries_the_facts_of_its_file(noise, format, options, facts, words, kind):
    decoded = decode_bytes(saved(noise(64, 64), format, **options))
    assert (carried(decoded), str(facts), facts.kind) == (facts, words, kind)
    assert carried(decoded.crop((0, 0, 32, 32))) == facts


def test_an_animated_webp_is_told_by_its_first_frame(noise):
    frames = [noise(64, 64), noise(64, 64, seed=1)]
    for lossless in (True, False):
        data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=lossless)
        assert carried(decode_bytes(data)).lossy is not lossless


def test_an_image_opened_with_pil_has_facts_an_array_has_none_and_a_view_has_its_own(noise):
    with Image.open(io.BytesIO(saved(noise(64, 64), "JPEG", quality=70))) as image:
        assert carried(as_rgb(image)) == FileFacts("JPEG", 70, lossy=True)
    assert carried(as_rgb(np.zeros((64, 64, 3), np.uint8))) is None
    png = decode_bytes(saved(noise(64, 64), "PNG"))
    assert carried(views.parse("all_q75")(png, 0, path="")) == FileFacts("JPEG", 75, lossy=True)
