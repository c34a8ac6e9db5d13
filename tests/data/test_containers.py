"""What surrounds the pixels of a whole image makes no difference, and what is missing of them is not made up."""

import io
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from lfm_jax.data.containers import decodes_in_one_pass, jpeg_layout
from lfm_jax.data.images import MAX_SCANNED_PIXELS, ImageError, decode_bytes


def encoded(image, container, **options):
    file = io.BytesIO()
    image.save(file, container, **options)
    return file.getvalue()


def chunk(name, content, *, checksum=None):
    crc = zlib.crc32(name + content) if checksum is None else checksum
    return len(content).to_bytes(4) + name + content + crc.to_bytes(4)


def test_a_video_behind_a_jpeg_is_not_counted_as_scans(noise):
    jpeg = encoded(noise(500, 500), "JPEG")
    video = b"MotionPhoto_Data" + b"\xff\xda" * (MAX_SCANNED_PIXELS // 500**2 + 1)
    assert decode_bytes(jpeg + video).tobytes() == decode_bytes(jpeg).tobytes()


def test_a_thumbnail_within_the_metadata_is_not_counted_as_scans(noise):
    plain = encoded(noise(64, 64), "JPEG")
    thumbnail = b"Thumb\0" + encoded(noise(16, 16), "JPEG", progressive=True)
    within = plain[:2] + b"\xff\xe5" + (len(thumbnail) + 2).to_bytes(2) + thumbnail + plain[2:]
    assert jpeg_layout(within) == jpeg_layout(plain)
    assert decode_bytes(within).tobytes() == decode_bytes(plain).tobytes()


def test_the_scans_of_a_progressive_jpeg_are_counted(noise):
    progressive = encoded(noise(64, 64), "JPEG", progressive=True)
    assert jpeg_layout(progressive).scans == progressive.count(b"\xff\xda") > 5


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "with restart markers": {"restart_marker_blocks": 2},
    "of high quality": {"quality": 98, "subsampling": 0},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_that_lacks_its_end_marker_only_is_decoded(missing, options, noise):
    whole = encoded(noise(67, 45), "JPEG", **options)
    assert decode_bytes(whole[:-missing]).tobytes() == decode_bytes(whole).tobytes()


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("missing", [8, 20, 100, 500])
def test_a_jpeg_whose_pixels_are_cut_is_refused(missing, options, noise):
    with pytest.raises(ImageError, match="truncated"):
        decode_bytes(encoded(noise(67, 45), "JPEG", **options)[:-missing])


def test_a_jpeg_cut_between_two_restart_intervals_is_refused():
    whole = encoded(Image.linear_gradient("L"), "JPEG", restart_marker_blocks=2)
    cut = whole[: whole.rindex(b"\xff\xd3")]
    with pytest.raises(ImageError, match="truncated"):
        decode_bytes(cut)


LARGE = np.random.default_rng(0).bytes(2_000_000).hex().encode()
PNG_CHUNKS = {
    "a large colour profile": chunk(
        b"iCCP", b"sRGB\0\0" + zlib.compress(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + LARGE)
    ),
    "large compressed text": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(LARGE)),
    "large international text": chunk(b"iTXt", b"workflow\0\0\0\0\0" + LARGE),
    "text with a wrong checksum": chunk(b"tEXt", b"parameters\0a cat", checksum=1),
    "a profile that is not compressed": chunk(b"iCCP", b"sRGB\0\0 nonsense"),
}


@pytest.mark.parametrize("added", PNG_CHUNKS.values(), ids=PNG_CHUNKS)
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind the pixels"])
def test_metadata_of_a_png_does_not_matter(behind, added, noise):
    png = encoded(noise(40, 30), "PNG")
    place = len(png) - 12 if behind else 33
    assert decode_bytes(png[:place] + added + png[place:]).tobytes() == noise(40, 30).tobytes()


def test_a_png_with_a_wrong_checksum_on_its_header_is_refused(noise):
    png = bytearray(encoded(noise(40, 30), "PNG"))
    png[29] ^= 1
    with pytest.raises(ImageError):
        decode_bytes(bytes(png))


def test_a_cut_png_is_refused_with_metadata_or_without(noise):
    png = encoded(noise(40, 30), "PNG")
    for whole in (png, png[:33] + chunk(b"tEXt", b"a\0b") + png[33:]):
        with pytest.raises(ImageError, match="truncated"):
            decode_bytes(whole[:-100])


def test_a_progressive_jpeg_that_lacks_its_last_scan_is_refused(noise):
    whole = encoded(noise(67, 45), "JPEG", progressive=True)
    cut = whole[: whole.rindex(b"\xff\xc4")]  # the tables of the last scan begin here
    assert not jpeg_layout(cut).refined
    with pytest.raises(ImageError, match="truncated"):
        decode_bytes(cut)


def test_further_scans_of_a_jpeg_that_has_all_its_pixels_in_the_first_are_refused_at_no_cost():
    """They are not counted, as the decoder never begins one: it stops at the first of them."""
    plain = encoded(Image.new("L", (1024, 1024), 77), "JPEG")
    scan = plain[plain.rindex(b"\xff\xda") : -2]
    before = time.thread_time()
    with pytest.raises(ImageError):
        decode_bytes(plain[:-2] + 5000 * scan + plain[-2:])
    assert time.thread_time() - before < 1  # 5,000 passes would take over ten


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_of_one_pass_is_told_without_a_walk(mode, noise):
    data = encoded(noise(67, 45).convert(mode), "JPEG")
    with Image.open(io.BytesIO(data)) as image:
        scan, components = image.fp.tell(), len(image.getbands())
    assert jpeg_layout(data).scans == 1
    assert decodes_in_one_pass(data, scan, components=components)
    assert not decodes_in_one_pass(data[:-2], scan, components=components)
    assert not decodes_in_one_pass(data, scan, components=components + 1)  # as where the first scan has one of three
