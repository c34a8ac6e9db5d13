"""The NPR residual against its definition, block by block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lfm_jax.ops.npr import Residual, crop_to_blocks, normalize, npr_residual, residual_of_pixels
from tests.helpers.platforms import as_on

SIGNED = Residual(kind="signed")
# Half-precision values, so that no difference is a float32 subnormal, which XLA takes for 0.
IMAGES = hnp.arrays(
    np.float32,
    st.sampled_from([(1, 2, 2, 1), (2, 5, 4, 3), (1, 7, 9, 3), (1, 8, 6, 2)]),  # few shapes, because each one is compiled
    elements=st.floats(-4, 4, width=16),
)


@given(IMAGES)
@settings(deadline=None, max_examples=60)
def test_each_value_is_the_pixel_less_the_top_left_of_its_block(images):
    residual = np.asarray(npr_residual(images, residual=SIGNED))
    _, height, width, _ = images.shape
    assert residual.shape[1:3] == (height // 2 * 2, width // 2 * 2)
    for row in range(residual.shape[1]):
        for col in range(residual.shape[2]):
            expected = images[:, row, col] - images[:, row // 2 * 2, col // 2 * 2]
            np.testing.assert_array_equal(residual[:, row, col], expected)


@pytest.mark.parametrize(("factor", "anchor"), [(2, (1, 0)), (4, (0, 3)), (8, (5, 5))])
def test_other_pixels_of_larger_blocks_can_be_subtracted(factor, anchor):
    images = np.random.default_rng(0).normal(size=(2, 17, 20, 3)).astype(np.float32)
    residual = np.asarray(npr_residual(images, residual=Residual(kind="signed", factor=factor, anchor=anchor)))
    rows, cols = (np.arange(side // factor * factor) for side in (17, 20))
    of_block = [places // factor * factor + place for places, place in zip((rows, cols), anchor, strict=True)]
    np.testing.assert_array_equal(residual, images[:, rows][:, :, cols] - images[:, of_block[0]][:, :, of_block[1]])


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize(("factor", "anchor"), [(2, (0, 0)), (2, (1, 0)), (4, (0, 3)), (8, (5, 5))])
def test_every_platform_gives_the_same_bits(factor, anchor, platform):
    images = np.random.default_rng(0).normal(size=(2, 17, 20, 3)).astype(np.float32)

    def residual(images):
        return npr_residual(images, residual=Residual(kind="signed", factor=factor, anchor=anchor))

    np.testing.assert_array_equal(as_on(platform, residual)(images), residual(images))


def test_an_anchor_outside_its_block_is_refused():
    with pytest.raises(ValueError, match=r"anchor = \(0, 2\): expected .* 2 x 2 px"):
        Residual(anchor=(0, 2))


@given(IMAGES)
@settings(deadline=None, max_examples=40)
def test_a_quarter_is_zero_and_abs_is_the_magnitude(images):
    signed = np.asarray(npr_residual(images, residual=SIGNED))
    magnitude = np.asarray(npr_residual(images))
    assert not signed[:, ::2, ::2].any()
    np.testing.assert_array_equal(magnitude, np.abs(signed))


def test_a_nearest_neighbour_enlargement_leaves_nothing():
    small = np.random.default_rng(0).normal(size=(1, 5, 7, 3)).astype(np.float32)
    assert not np.asarray(npr_residual(small.repeat(2, 1).repeat(2, 2))).any()


def test_npr_is_the_signed_residual_times_two_thirds():
    images = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    npr = npr_residual(images, residual=Residual(kind="signed", scale=2 / 3))
    np.testing.assert_allclose(npr, npr_residual(images, residual=SIGNED) * 2 / 3, rtol=1e-6)


def test_none_passes_the_pixels_on():
    images = np.random.default_rng(0).normal(size=(1, 5, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(npr_residual(images, residual=Residual(kind="none")), images[:, :4])
    np.testing.assert_array_equal(crop_to_blocks(images), images[:, :4])


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 1, 8, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="at least 2 x 2"):
        npr_residual(jnp.zeros(shape))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'absolute'"):
        Residual(kind="absolute")


def test_normalize_is_imagenets():
    pixels = np.array([0, 128, 255], np.uint8).reshape(1, 1, 1, 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (pixels / 255.0 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(normalize(pixels, mean, std), expected, rtol=1e-6)
    np.testing.assert_allclose(normalize(pixels.astype(np.float32), mean, std), expected, rtol=1e-6)


def test_uint8_is_rounded_as_float32_divisions_are():
    mean, std = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    expected = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    np.testing.assert_array_equal(jax.jit(lambda x: normalize(x, mean, std))(pixels), expected)


LEVELS = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["abs", "signed"])
def test_in_bfloat16_the_residual_of_levels_is_that_of_the_table(kind):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    residual = Residual(kind=kind, scale=2 / 3)
    expected = np.asarray(npr_residual(normalize(LEVELS, mean, std), residual=residual))
    exact, rounded = (
        np.asarray(residual_of_pixels(LEVELS, mean=mean, std=std, residual=residual, dtype=dtype), np.float32)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    np.testing.assert_array_equal(exact, expected)
    np.testing.assert_allclose(rounded, expected, rtol=2**-8, atol=1e-6)  # one rounding to 8 bits; the table's own is 1e-7


def test_plain_pixels_in_bfloat16_are_normalised():
    options = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "residual": Residual(kind="none")}
    exact, rounded = (
        np.asarray(residual_of_pixels(LEVELS, dtype=dtype, **options), np.float32) for dtype in (jnp.float32, jnp.bfloat16)
    )
    np.testing.assert_allclose(rounded, exact, rtol=2**-8, atol=1e-6)


def test_in_bfloat16_no_pixel_is_looked_up():
    options = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "residual": Residual()}
    program = jax.jit(lambda x: residual_of_pixels(x, dtype=jnp.bfloat16, **options)).lower(LEVELS).as_text()
    assert "gather" not in program
