"""JPEG as array operations, against Pillow's encoder and decoder."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lfm_jax.data import synthetic
from lfm_jax.ops.jpeg import jpeg, quantisation_tables

QUALITIES = (1, 30, 50, 75, 90, 96, 100)
# Share of the values of a batch. One coefficient of a block of noise is a step of its table further here than with Pillow 13, at
# quality 75: 64 values of a batch's 28,672 px and more. Pictures are the same to the bit.
DIFFERING = 0.01


def saved(pixels, quality, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, **options)
    return Image.open(file)


def ours(images, qualities, *, subsampling="4:2:0", sizes=None):
    heights, widths = np.array(sizes or [image.shape[:2] for image in images]).T
    planes = jpeg_jitted(jnp.moveaxis(jnp.float32(images), -1, 1), jnp.array(qualities), heights, widths, subsampling=subsampling)
    return np.moveaxis(np.asarray(planes), 1, -1).astype(np.uint8)


jpeg_jitted = jax.jit(jpeg, static_argnames="subsampling")


def pictures(height, width):
    """Photograph-like, noise, and colours as far apart as they can be, one for each quality."""
    drawn = [synthetic.example(0, "train", 2 * index, max(height, width))[0][:height, :width] for index in range(5)]
    rng = np.random.default_rng(0)
    return np.stack([*drawn, rng.integers(0, 256, drawn[0].shape), 255 * rng.integers(0, 2, drawn[0].shape)]).astype(np.uint8)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("size", [(64, 64), (72, 56), (53, 75), (50, 81)], ids=str)
def test_the_result_is_pillows_at_a_quality_of_each_image(size, subsampling):
    images = pictures(*size)
    for turn in range(len(QUALITIES)):
        qualities = np.roll(QUALITIES, turn)
        expected = [np.asarray(saved(image, int(q), subsampling=subsampling)) for image, q in zip(images, qualities, strict=True)]
        assert (ours(images, qualities, subsampling=subsampling) != expected).mean() <= DIFFERING


def test_pillows_default_is_our_default():
    images = pictures(48, 48)
    expected = [np.asarray(saved(image, quality)) for image, quality in zip(images, QUALITIES, strict=True)]
    assert (ours(images, QUALITIES) != expected).mean() <= DIFFERING


def test_an_image_that_is_smaller_than_its_planes_is_saved_as_if_it_were_alone():
    sizes, canvas = [(64, 64), (48, 33), (17, 50), (21, 21), (9, 64), (64, 31), (40, 40)], pictures(64, 64)
    outcome = ours(canvas, QUALITIES, sizes=sizes)
    equal = [
        read_back[:height, :width] == np.asarray(saved(image[:height, :width], quality))
        for image, read_back, quality, (height, width) in zip(canvas, outcome, QUALITIES, sizes, strict=True)
    ]
    assert 1 - np.concatenate([values.ravel() for values in equal]).mean() <= DIFFERING


def test_the_tables_are_those_that_pillow_writes():
    qualities = list(range(1, 101))
    luminance, chrominance = (np.asarray(tables) for tables in quantisation_tables(jnp.array(qualities)))
    for quality in qualities:
        written = saved(np.zeros((8, 8, 3), np.uint8), quality).quantization
        assert [luminance[quality - 1].tolist(), chrominance[quality - 1].tolist()] == [written[0], written[1]]


def test_one_program_serves_all_qualities():
    images = pictures(56, 56)
    before = jpeg_jitted._cache_size()
    for quality in (20, 60, 95):
        ours(images, [quality] * len(images))
    assert jpeg_jitted._cache_size() <= before + 1
