"""A whole block, in one operation and image by image, against its parts one after another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax.ops import block
from lfm_jax.ops.block import conv_norm_relu_pool
from lfm_jax.ops.conv import conv2x2
from lfm_jax.ops.norm import norm_relu_pool

SCALE = np.array([1.5, -0.7, 0.3, 1, -1, 0.1], np.float32)  # a negative scale turns the largest of a window into the smallest


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def arguments(size, channels, dtype=jnp.float32):
    x, kernel = (jnp.asarray(array, dtype) for array in (1 + normal(0, 4, *size, channels), normal(1, 2, 2, channels, 6)))
    return x, kernel, SCALE, normal(2, 6)


def one_after_another(x, kernel, scale, bias, epsilon, pool):
    return norm_relu_pool(conv2x2(x, kernel), scale, bias, epsilon, pool)


def all_results(function, args, cotangent):
    """Activations, mean, variance, and the gradients of x, kernel, scale and bias."""

    @jax.jit
    def both(*args):
        normed, pull = jax.vjp(lambda *args: function(*args, 1e-5, True), *args)
        return *normed, *pull((cotangent.astype(normed[0].dtype), *map(jnp.zeros_like, normed[1:])))

    return both(*args)


@pytest.fixture(params=[1, 4])
def images_at_once(request, monkeypatch):
    monkeypatch.setattr(block, "_at_once", lambda x, kernel: request.param)


@pytest.mark.parametrize(("size", "channels"), [((9, 12), 3), ((9, 12), 20), ((3, 4), 3)])  # below and above conv.NARROW
@pytest.mark.usefixtures("images_at_once")
def test_it_equals_its_parts_forward_and_gradient(size, channels):
    args, cotangent = arguments(size, channels), normal(3, 4, (size[0] - 1) // 2, (size[1] - 1) // 2, 6)
    found, expected = (all_results(function, args, cotangent) for function in (conv_norm_relu_pool, one_after_another))
    for ours, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("images_at_once")
def test_in_bfloat16_it_equals_its_parts_up_to_rounding():
    args, cotangent = arguments((9, 12), 20, jnp.bfloat16), normal(3, 4, 4, 5, 6)
    found, expected = (all_results(function, args, cotangent) for function in (conv_norm_relu_pool, one_after_another))
    for ours, right in zip(found, expected, strict=True):
        assert ours.dtype == right.dtype
        ours, right = (np.asarray(array, np.float32) for array in (ours, right))
        np.testing.assert_allclose(ours, right, rtol=3e-2, atol=3e-2 * np.abs(right).max())


@pytest.mark.parametrize("pool", [True, False])
def test_a_block_of_many_channels_is_its_parts(pool):
    args = arguments((4, 5), 128)
    for ours, right in zip(*(f(*args, 1e-5, pool) for f in (conv_norm_relu_pool, one_after_another)), strict=True):
        np.testing.assert_array_equal(ours, right)


def forward_and_gradient(forward, gradient, cotangent, *args):
    *normed, strongest = forward(*args, epsilon=1e-5)
    return normed, gradient((*args, *normed[1:], strongest), cotangent, epsilon=1e-5)


def test_the_gradient_for_cpu_and_the_one_for_other_platforms_agree():
    args, cotangent = arguments((9, 12), 3), normal(3, 4, 4, 5, 6)
    pairs = (block._normed, block._gradient), (block._stock_normed, block._stock_gradient)
    own, stock = (jax.jit(functools.partial(forward_and_gradient, *pair))(cotangent, *args) for pair in pairs)
    for ours, right in zip(jax.tree.leaves(own), jax.tree.leaves(stock), strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-4, atol=1e-4)


def test_other_platforms_convolve_once_for_forward_and_gradient():
    """The gradient names the convolution again: the compiler must see that it is the same."""
    args, cotangent = arguments((9, 12), 3), normal(3, 4, 4, 5, 6)

    def convolutions(function, *args):
        return jax.jit(function).lower(*args).compile().as_text().count(" convolution(")

    forward = functools.partial(block._stock_normed, epsilon=1e-5)
    saved = (*args, *forward(*args)[1:])
    alone = convolutions(functools.partial(block._stock_gradient, epsilon=1e-5), saved, cotangent)
    both = functools.partial(forward_and_gradient, block._stock_normed, block._stock_gradient)
    assert convolutions(forward, *args) == 1
    assert convolutions(both, cotangent, *args) == alone


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("tpu", False), ("cuda", False)])
def test_images_pass_one_by_one_on_cpu_alone(platform, loops, monkeypatch):
    monkeypatch.setattr(block, "_at_once", lambda x, kernel: 1)
    step = jax.jit(lambda *args: conv_norm_relu_pool(*args, 1e-5, True)[0])
    lowered = step.trace(*arguments((9, 12), 3)).lower(lowering_platforms=(platform,))
    assert ("stablehlo.while" in lowered.as_text()) == loops
