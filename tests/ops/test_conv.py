"""Convolution and max-pooling, on each platform, against their plain forms, also at ties and odd sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lfm_jax.ops.conv import conv1x1, conv2x2, conv_pool_relu, conv_relu_conv1x1, max_pool2x2
from tests.helpers.networks import normal
from tests.helpers.platforms import as_on, lowered_text

PLATFORMS = ["cpu", "tpu", "cuda"]


def plain_conv(x, kernel):
    highest = lax.Precision.HIGHEST
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=highest)


def plain_max_pool(x):
    return lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def gradient_at_first_maximum(x, cotangent):
    """What max-pooling hands back: each window's gradient at its first maximum, row by row."""
    gradient = np.zeros_like(x)
    for batch, row, column, channel in np.ndindex(*cotangent.shape):
        window = x[batch, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        down, right = divmod(int(window.argmax()), 2)
        gradient[batch, 2 * row + down, 2 * column + right, channel] = cotangent[batch, row, column, channel]
    return gradient


def gradients(function):
    return lambda cotangent, *args: jax.vjp(function, *args)[1](cotangent)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize("size", [(6, 7), (2, 2), (9, 4)])
def test_the_gradients_of_the_convolution_are_those_of_the_plain_one(size, channels, platform):
    x, kernel, cotangent = normal(0, 2, *size, channels), normal(1, 2, 2, channels, 5), normal(2, 2, size[0] - 1, size[1] - 1, 5)
    expected = gradients(plain_conv)(cotangent, x, kernel)
    for gradient, reference in zip(as_on(platform, gradients(conv2x2))(cotangent, x, kernel), expected, strict=True):
        np.testing.assert_allclose(gradient, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 20, 130])
def test_in_bfloat16_it_is_the_plain_one_up_to_rounding(channels):
    x, kernel, cotangent = normal(0, 2, 6, 7, channels), normal(1, 2, 2, channels, 5), normal(2, 2, 5, 6, 5)
    arrays = [jnp.asarray(array, jnp.bfloat16) for array in (cotangent, x, kernel)]
    exact = [array.astype(jnp.float32) for array in arrays]
    found = [conv2x2(*arrays[1:]), *gradients(conv2x2)(*arrays)]
    expected = [plain_conv(*exact[1:]), *gradients(plain_conv)(*exact)]
    for array, reference in zip(found, expected, strict=True):
        assert array.dtype == jnp.bfloat16
        # The sums of four products are each rounded once, to 8 bits, and so is their sum.
        np.testing.assert_allclose(array.astype(jnp.float32), reference, rtol=0, atol=2**-7 * float(jnp.abs(reference).max()))


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (2, 3)])
@pytest.mark.parametrize("ties", [False, True])
def test_the_gradient_of_the_max_pool_goes_to_the_first_maximum(size, ties, platform):
    x, cotangent = normal(0, 2, *size, 3), normal(1, 2, size[0] // 2, size[1] // 2, 3)
    x = x.round() if ties else x
    (gradient,) = as_on(platform, gradients(max_pool2x2))(cotangent, x)
    np.testing.assert_array_equal(gradient, gradient_at_first_maximum(x, cotangent))


def test_max_pool_loses_no_gradient_when_its_input_is_fused_with_it():
    """Compiled together with other operations, x may be computed twice with different rounding."""
    x, scale, cotangent = normal(0, 2, 64, 64, 8), normal(1, 8), normal(2, 2, 31, 31, 8)
    kernel = normal(3, 2, 2, 8, 8)

    def gradient(convolve, pool):
        def loss(x):
            y = jax.nn.relu((convolve(x, kernel) - x.mean()) * scale + 0.1)
            return (pool(y) * cotangent).sum()

        return jax.jit(jax.grad(loss))(x)

    np.testing.assert_allclose(gradient(conv2x2, max_pool2x2), gradient(plain_conv, plain_max_pool), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("platform", "scatters"), [("cpu", False), ("tpu", True), ("cuda", True)])
def test_the_gradient_is_chosen_by_the_platform_that_a_program_is_lowered_for(platform, scatters):
    text = lowered_text(platform, jax.grad(lambda x: max_pool2x2(x).sum()), normal(0, 1, 4, 4, 2))
    assert ("select_and_scatter" in text) == scatters


@pytest.mark.parametrize("platform", PLATFORMS)
def test_max_pool_takes_the_largest_of_each_aligned_window(platform):
    x = normal(0, 1, 5, 7, 2)
    expected = x[:, :4, :6].reshape(1, 2, 2, 3, 2, 2).max((2, 4))
    np.testing.assert_array_equal(as_on(platform, max_pool2x2)(x), expected)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("channels", [2, 20, 128])
def test_convolution_looks_right_and_down(channels, platform):
    x, kernel = (normal(seed, *shape).astype(np.float64) for seed, shape in ((0, (1, 3, 3, channels)), (1, (2, 2, channels, 4))))
    expected, magnitude = (np.einsum("ijc,ijco->o", f(x[0, 1:3, 0:2]), f(kernel)) for f in (np.positive, np.abs))
    result = as_on(platform, conv2x2)(x.astype(np.float32), kernel.astype(np.float32))[0, 1, 0]
    # Each addition of a float32 sum rounds by up to half an eps of the sum so far, at most `magnitude`, and most roundings cancel.
    assert (np.abs(result - expected) <= np.finfo(np.float32).eps * magnitude).all()


def test_projection_gives_float32_from_bfloat16():
    x, kernel = normal(0, 1, 2, 2, 8), normal(1, 8, 4)
    maps = conv1x1(jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16))
    assert maps.dtype == jnp.float32
    np.testing.assert_allclose(maps, x @ kernel, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [(6, 7), (2, 2), (9, 4)])
def test_the_blocks_of_a_folded_network_are_their_steps_up_to_rounding(size, dtype, platform):
    x, kernel = (jnp.asarray(normal(seed, *shape), dtype) for seed, shape in ((0, (2, *size, 20)), (1, (2, 2, 20, 6))))
    bias, project = normal(2, 6), jnp.asarray(normal(3, 6, 4), dtype)
    convolved = plain_conv(x.astype(jnp.float32), kernel.astype(jnp.float32))
    maps = np.maximum(convolved + bias, 0) @ project.astype(jnp.float32)
    tolerance = 1e-4 if dtype == jnp.float32 else 0.1
    if min(size) > 2:
        pooled = as_on(platform, conv_pool_relu)(x, kernel, bias)
        assert pooled.dtype == dtype
        np.testing.assert_allclose(pooled.astype(jnp.float32), np.maximum(plain_max_pool(convolved) + bias, 0), atol=tolerance)
    projected = as_on(platform, conv_relu_conv1x1)(x, kernel, bias, project)
    assert projected.dtype == jnp.float32
    np.testing.assert_allclose(projected, maps, atol=3 * tolerance)
