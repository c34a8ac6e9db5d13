"""Protocols against the same steps taken by hand with PIL, at sizes where rounding and padding show."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.errors import UserError

PUBLISHED = ("native", "resize256", "crop224", "crop256", "crop224_pad", "crop256_pad", "resize256_crop224")
# height, width: odd, just above, equal to, below the crops, and both at once
SIZES = [(256, 256), (301, 255), (224, 224), (225, 227), (226, 229), (223, 301), (100, 97), (257, 90), (512, 384), (48, 1000)]


def by_hand(name, image):
    """The steps of torchvision's CenterCrop and Pad on PIL images, for the protocols that the field reports."""
    parts = name.split("_")
    for part in parts:
        if part.startswith("resize"):
            side = int(part.removeprefix("resize"))
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        if part.startswith("crop"):
            side = int(part.removeprefix("crop"))
            if "pad" in parts:
                canvas = Image.new("RGB", (max(image.width, side), max(image.height, side)), (0, 0, 0))
                canvas.paste(image, (max(side - image.width, 0) // 2, max(side - image.height, 0) // 2))
                image = canvas
            width, height = min(image.width, side), min(image.height, side)
            left, top = round((image.width - width) / 2), round((image.height - height) / 2)
            image = image.crop((left, top, left + width, top + height))
    return np.asarray(image)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("size", SIZES)
def test_a_protocol_is_its_steps_by_hand(name, size, noise):
    image = noise(*size)
    (pixels,) = protocols.parse(name)(image)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, by_hand(name, image))


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    resize=st.none() | st.integers(1, 30),
    crop=st.none() | st.integers(1, 30),
    pad=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_any_sizes_work(size, resize, crop, pad):
    pixels = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
    parts = [f"resize{resize}"] * bool(resize) + [f"crop{crop}" + "_pad" * pad] * bool(crop)
    name = "_".join(parts) or "native"
    np.testing.assert_array_equal(protocols.parse(name)(Image.fromarray(pixels))[0], by_hand(name, Image.fromarray(pixels)))


def test_native_does_not_change_the_image(noise):
    np.testing.assert_array_equal(protocols.parse("native")(noise(47, 61))[0], np.asarray(noise(47, 61)))


def test_resize_does_not_keep_the_aspect(noise):
    assert protocols.parse("resize256")(noise(100, 300)).shape == (1, 256, 256, 3)


def test_resizing_down_is_antialiased():
    """A fine checkerboard becomes grey; sampling single pixels would leave it black and white."""
    board = np.indices((512, 512)).sum(0) % 2 * np.uint8(255)
    pixels = protocols.parse("resize256")(Image.fromarray(np.stack([board] * 3, -1).astype(np.uint8)))
    assert 120 <= pixels.min() <= pixels.max() <= 135


def test_a_side_below_the_crop_is_kept_whole(noise):
    image = noise(100, 300)
    (pixels,) = protocols.parse("crop224")(image)
    np.testing.assert_array_equal(pixels, np.asarray(image)[:, 38:262])


def test_padding_puts_the_odd_pixel_right_and_below():
    white = Image.new("RGB", (3, 5), (255, 255, 255))
    (padded,) = protocols.parse("crop8_pad")(white)
    expected = np.zeros((8, 8, 3), np.uint8)
    expected[1:6, 2:5] = 255
    np.testing.assert_array_equal(padded, expected)


def test_half_a_pixel_of_offset_is_rounded_to_even():
    """Crops of 4 from 5, 7, 9 px start at 0 (0.5), 2 (1.5), 2 (2.5)."""
    for length, first in ((5, 0), (7, 2), (9, 2)):
        ramp = np.arange(length, dtype=np.uint8)[None, :, None].repeat(length, 0).repeat(3, 2)
        np.testing.assert_array_equal(protocols.parse("crop4")(Image.fromarray(ramp))[0, 0, :, 0], np.arange(first, first + 4))


@pytest.mark.parametrize(("name", "fields"), [("native", (0, 0, False)), ("resize256_crop224", (256, 224, False))])
def test_a_name_describes_its_protocol_completely(name, fields):
    protocol = protocols.parse(name)
    assert protocol.name == name
    assert (protocol.resize, protocol.crop, protocol.pad) == fields


NOT_PROTOCOLS = [
    "",
    "crop",
    "resize",
    "native256",
    "native_crop224",
    "resize256crop224",
    "crop224_resize256",
    "resize256_pad",
    "pad",
    "crop224_padded",
    "_crop224",
    "crop224_",
    "crop-1",
    "crop22.4",
    "crop224 ",
    "crop224\n",
    "CROP224",
    "crop0",
    "resize0",
    "resize256_crop0",
    "tiles",
    "tiles0",
    "tiles256_crop224",
    "resize256_tiles128",
    "tiles256_top0",
    "tiles256_top100",
    "tiles256_top25_stride128",
]


@pytest.mark.parametrize("name", NOT_PROTOCOLS)
def test_any_other_name_is_refused_with_the_choices(name):
    with pytest.raises(UserError) as error:
        protocols.parse(name)
    assert repr(name) in str(error.value)
    for choice in PUBLISHED:
        assert choice in str(error.value)


@pytest.mark.parametrize("name", ["tiles255", "tiles256_stride129", "tiles128_stride256"])
def test_tiles_must_keep_the_blocks_and_leave_no_gap(name):
    with pytest.raises(UserError, match=rf"{name}.*even.*no larger than the tile"):
        protocols.parse(name)


@given(height=st.integers(1, 60), width=st.integers(1, 60), side=st.integers(1, 12), stride=st.integers(1, 12))
@settings(deadline=None, max_examples=100)
def test_tiles_are_cut_from_the_image_as_many_as_fit_and_nearly_centred(height, width, side, stride):
    """Each pixel holds its own row and column, so that a tile shows where it is from."""
    side, stride = 2 * side, 2 * min(side, stride)
    rows, columns = np.indices((height, width), np.uint8)
    image = Image.fromarray(np.stack([rows, columns, rows], -1))
    tiles = protocols.parse(f"tiles{side}_stride{stride}")(image)
    tops, lefts = tiles[:, 0, 0, 0].astype(int), tiles[:, 0, 0, 1].astype(int)
    assert tiles.shape[1:3] == (min(side, height), min(side, width))
    for tile, top, left in zip(tiles, tops, lefts, strict=True):
        np.testing.assert_array_equal(tile, np.asarray(image)[top : top + side, left : left + side])
    for firsts, length in ((sorted(set(tops)), height), (sorted(set(lefts)), width)):
        assert all(first % 2 == 0 for first in firsts)
        assert len(firsts) == max(length - side, 0) // stride + 1
        assert all(after - before == stride for before, after in itertools.pairwise(firsts))
        left_over = (firsts[0], length - firsts[-1] - side)
        assert length < side or abs(left_over[0] - left_over[1]) <= 3
    places = list(zip(tops, lefts, strict=True))
    assert places == sorted(set(places)), "row by row, each once"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("native", "the whole image at its own size."),
        ("resize256_crop224", "resized to 256 x 256 px (bilinear, aspect not kept); then the central 224 x 224 px (a shorter"),
        ("crop224_pad", "the central 224 x 224 px (a shorter side is padded with zeros)."),
        ("tiles256_stride128_top25", "tiles of 256 x 256 px, 128 px apart; the logit is the mean over the 25 % of tiles"),
    ],
)
def test_a_protocol_says_in_words_what_it_does(name, sentence):
    assert protocols.parse(name).words().startswith(sentence)


def test_the_logit_of_tiles_is_the_mean_of_the_highest_share():
    logits = [1.0, -3.0, 2.0, 5.0, -1.0]
    assert protocols.parse("tiles256").logit(logits) == pytest.approx(0.8)
    assert protocols.parse("tiles256_top40").logit(logits) == pytest.approx(3.5)
    assert protocols.parse("tiles256_top1").logit(logits) == 5.0
    assert protocols.parse("crop256").logit([0.123456789]) == np.float32(0.123456789)
