"""A whole block as one operation, on each platform, against its steps one after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax.ops import block
from lfm_jax.ops.block import conv_norm_relu_pool
from lfm_jax.ops.conv import NARROW, WIDE, conv2x2
from lfm_jax.ops.norm import norm_relu_pool
from tests.helpers.networks import normal
from tests.helpers.platforms import as_on, lowered_text

SCALE = np.array([1.5, -0.7, 0.3, 1, -1, 0.1], np.float32)  # a negative scale turns the largest of a window into the smallest
EPSILON = 1e-5


def arguments(size, channels, dtype=jnp.float32):
    x, kernel = (jnp.asarray(array, dtype) for array in (1 + normal(0, 4, *size, channels), normal(1, 2, 2, channels, 6)))
    return x, kernel, SCALE, normal(2, 6)


def step_by_step(x, kernel, scale, bias, epsilon, pool):
    return norm_relu_pool(conv2x2(x, kernel), scale, bias, epsilon, pool)


def with_gradients(function, cotangent):
    """A function of x, kernel, scale and bias -> activations, mean, variance and the four gradients."""

    def both(*args):
        normed, pull = jax.vjp(lambda *args: function(*args, EPSILON, True), *args)
        return *normed, *pull((cotangent.astype(normed[0].dtype), *map(jnp.zeros_like, normed[1:])))

    return both


def all_results(platform, function, args, cotangent):
    return [np.asarray(array, np.float32) for array in as_on(platform, with_gradients(function, cotangent))(*args)]


@pytest.fixture(params=["one image at once", "all images at once"])
def images_at_once(request, monkeypatch):
    monkeypatch.setattr(block, "VALUES_AT_ONCE", 0 if request.param.startswith("one") else block.VALUES_AT_ONCE)


@pytest.mark.parametrize(("size", "channels"), [((9, 12), 3), ((9, 12), NARROW + 4), ((3, 4), 3)])
@pytest.mark.usefixtures("images_at_once")
def test_it_equals_its_steps_forward_and_gradient(size, channels):
    args, cotangent = arguments(size, channels), normal(3, 4, (size[0] - 1) // 2, (size[1] - 1) // 2, 6)
    results, expected = (all_results("cpu", function, args, cotangent) for function in (conv_norm_relu_pool, step_by_step))
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("images_at_once")
def test_in_bfloat16_it_equals_its_steps_up_to_rounding():
    args, cotangent = arguments((9, 12), 20, jnp.bfloat16), normal(3, 4, 4, 5, 6)
    functions = conv_norm_relu_pool, step_by_step
    dtypes = [[array.dtype for array in jax.eval_shape(with_gradients(function, cotangent), *args)] for function in functions]
    assert dtypes[0] == dtypes[1]
    for result, reference in zip(*(all_results("cpu", function, args, cotangent) for function in functions), strict=True):
        np.testing.assert_allclose(result, reference, rtol=3e-2, atol=3e-2 * np.abs(reference).max())


@pytest.mark.parametrize("pool", [True, False])
def test_a_block_of_many_channels_is_its_steps(pool):
    args = arguments((4, 5), WIDE)
    for result, reference in zip(*(f(*args, EPSILON, pool) for f in (conv_norm_relu_pool, step_by_step)), strict=True):
        np.testing.assert_array_equal(result, reference)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_give_what_the_cpu_gives(platform):
    args, cotangent = arguments((9, 12), 3), normal(3, 4, 4, 5, 6)
    here, there = (all_results(name, conv_norm_relu_pool, args, cotangent) for name in ("cpu", platform))
    for result, reference in zip(there, here, strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-4)


def test_other_platforms_convolve_once_for_forward_and_gradient():
    """The gradient repeats the convolution by name: the compiler must see that it is the same one."""
    args, cotangent = arguments((9, 12), 3), normal(3, 4, 4, 5, 6)

    def convolutions(part):
        def results(*args):
            return part(with_gradients(conv_norm_relu_pool, cotangent)(*args))

        program = jax.jit(lambda *args: as_on("tpu", results)(*args)).lower(*args).compile()
        return program.as_text().count(" convolution(")

    assert convolutions(lambda results: results[:3]) == 1
    assert convolutions(lambda results: results) == convolutions(lambda results: results[3:])


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("tpu", False), ("cuda", False)])
def test_images_pass_one_by_one_on_cpu_alone(platform, loops, monkeypatch):
    monkeypatch.setattr(block, "VALUES_AT_ONCE", 0)
    text = lowered_text(platform, lambda *args: conv_norm_relu_pool(*args, EPSILON, True)[0], *arguments((9, 12), 3))
    assert ("stablehlo.while" in text) == loops
