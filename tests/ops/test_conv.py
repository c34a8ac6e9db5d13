"""The gradients written for CPU against XLA's own, and against what they should do at ties and odd sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax.ops import conv
from lfm_jax.ops.conv import conv1x1, conv2x2, max_pool2x2


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def both(own, stock, *args):
    """Leaves of the same gradient, as compiled for CPU and as compiled for other platforms."""
    return zip(own(*args), stock(*args), strict=True)


@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize("size", [(6, 7), (2, 2), (9, 4)])
def test_both_gradients_of_the_convolution_agree(size, channels):
    x, kernel, cotangent = normal(0, 2, *size, channels), normal(1, 2, 2, channels, 5), normal(2, 2, size[0] - 1, size[1] - 1, 5)
    for own, stock in both(conv.fast_conv2x2_gradient, conv._conv2x2_stock_gradient, x, kernel, cotangent):
        np.testing.assert_allclose(own, stock, rtol=1e-5, atol=1e-5)
    given = jax.vjp(conv2x2, x, kernel)[1](cotangent)
    for leaf, stock in zip(given, conv._conv2x2_stock_gradient(x, kernel, cotangent), strict=True):
        np.testing.assert_allclose(leaf, stock, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (2, 3)])
@pytest.mark.parametrize("ties", [False, True])
def test_both_gradients_of_the_max_pool_agree(size, ties):
    x = normal(0, 2, *size, 3)
    if ties:
        x = x.round()
    cotangent = normal(1, 2, size[0] // 2, size[1] // 2, 3)
    for own, stock in both(conv._max_pool2x2_gradient, conv._max_pool2x2_stock_gradient, x, cotangent):
        np.testing.assert_array_equal(own, stock)
    np.testing.assert_array_equal(jax.vjp(max_pool2x2, x)[1](cotangent)[0], stock)


def test_max_pool_loses_no_gradient_when_its_input_is_fused_with_it():
    """Compiled behind other operations, x may be computed twice with different rounding."""
    x, scale, cotangent = normal(0, 2, 64, 64, 8), normal(1, 8), normal(2, 2, 31, 31, 8)
    kernel = normal(3, 2, 2, 8, 8)

    def gradient(convolve, pool):
        def loss(x):
            y = jax.nn.relu((convolve(x, kernel) - x.mean()) * scale + 0.1)
            return (pool(y) * cotangent).sum()

        return jax.jit(jax.grad(loss))(x)

    np.testing.assert_allclose(gradient(conv2x2, max_pool2x2), gradient(conv._conv2x2, conv._max_pool2x2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("platform", "scatters"), [("cpu", False), ("tpu", True), ("cuda", True)])
def test_the_gradient_is_chosen_by_the_platform_that_a_program_is_lowered_for(platform, scatters):
    step = jax.jit(jax.grad(lambda x: max_pool2x2(x).sum()))
    lowered = step.trace(normal(0, 1, 4, 4, 2)).lower(lowering_platforms=(platform,))
    assert ("select_and_scatter" in lowered.as_text()) == scatters


def test_max_pool_takes_the_largest_of_each_aligned_window():
    x = normal(0, 1, 5, 7, 2)
    expected = x[:, :4, :6].reshape(1, 2, 2, 3, 2, 2).max((2, 4))
    np.testing.assert_array_equal(max_pool2x2(x), expected)


@pytest.mark.parametrize("channels", [2, 20, 128])
def test_convolution_looks_right_and_down(channels):
    x, kernel = (normal(seed, *shape).astype(np.float64) for seed, shape in ((0, (1, 3, 3, channels)), (1, (2, 2, channels, 4))))
    expected, magnitude = (np.einsum("ijc,ijco->o", f(x[0, 1:3, 0:2]), f(kernel)) for f in (np.positive, np.abs))
    found = conv2x2(x.astype(np.float32), kernel.astype(np.float32))[0, 1, 0]
    # Each addition of a float32 sum rounds by up to half an eps of the sum so far, at most `magnitude`, and most roundings cancel.
    assert (np.abs(found - expected) <= np.finfo(np.float32).eps * magnitude).all()


def test_projection_gives_float32_from_bfloat16():
    x, kernel = normal(0, 1, 2, 2, 8), normal(1, 8, 4)
    maps = conv1x1(jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16))
    assert maps.dtype == jnp.float32
    np.testing.assert_allclose(maps, x @ kernel, rtol=0.1, atol=0.1)
