"""A whole block as one operation, on each platform, against its steps one after another."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lfm_jax.ops import block
from lfm_jax.ops.block import conv_norm_relu_pool
from lfm_jax.ops.conv import NARROW, WIDE, conv2x2, plain_conv2x2, plain_max_pool2x2
from lfm_jax.ops.device_block import moments_with, shifted_statistics, statistics_by_moments, view_products
from lfm_jax.ops.norm import finish, norm_relu_pool, statistics
from tests.helpers.networks import normal
from tests.helpers.platforms import as_on, lowered_text

ON_FOUR_DEVICES = """
import re
import jax
import jax.numpy as jnp
import numpy as np
from lfm_jax.ops.device_block import conv_pool_norm_relu
from lfm_jax.runtime import sharding

assert jax.device_count() == 4
x, kernel = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((8, 9, 12, 3), (2, 2, 3, 6)))
scale, bias, shift = np.full(6, -0.7, np.float32), np.zeros(6, np.float32), np.zeros(6, np.float32)

def gradients(kernel, scale, x):
    def loss(kernel, scale):
        return jnp.square(conv_pool_norm_relu(x, kernel, scale, bias, shift, 1e-5, True, "gpu")[0].astype(jnp.float32)).sum()

    return jax.grad(loss, (0, 1))(kernel, scale)

alone = jax.jit(gradients)(kernel, scale, x)
mesh = sharding.data_mesh()
rest, split = sharding.replicated(mesh), sharding.split_batch(mesh)
step = jax.jit(gradients, in_shardings=(rest, rest, split), out_shardings=rest)
for result, expected in zip(step(kernel, scale, x), alone, strict=True):
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)
narrow = [jnp.asarray(array, jnp.bfloat16) for array in (kernel, x)]
summed = re.findall(r"= (.+?) all-reduce", step.lower(narrow[0], scale, narrow[1]).compile().as_text())
assert any("2,2,3,6" in shapes for shapes in summed), summed
assert not any("bf16" in shapes for shapes in summed), summed
"""
SCALE = np.array([1.5, -0.7, 0.3, 1, -1, 0.1], np.float32)  # a negative scale turns the largest of a window into the smallest
EPSILON = 1e-5


def arguments(size, channels, dtype=jnp.float32):
    x, kernel = (jnp.asarray(array, dtype) for array in (1 + normal(0, 4, *size, channels), normal(1, 2, 2, channels, 6)))
    return x, kernel, SCALE, normal(2, 6), 3 * normal(4, 6)


def step_by_step(x, kernel, scale, bias, _shift, epsilon, pool):
    """The operations one after another, for autodiff, and rounded to fewer bits only where the convolution and the block end."""
    y = plain_conv2x2(x, kernel).astype(jnp.float32)
    if x.dtype == jnp.bfloat16:
        y = lax.reduce_precision(y, exponent_bits=8, mantissa_bits=7)  # or XLA leaves the rounding out, and with it the ties
    mean, var = statistics(y)
    activations = finish(y, mean, scale / jnp.sqrt(var + epsilon), bias)
    return (plain_max_pool2x2(activations) if pool else activations).astype(x.dtype), mean, var


def with_gradients(function, cotangent, *, pool=True):
    """A function of x, kernel, scale, bias and shift -> activations, mean, variance and the gradients of the first four."""

    def both(*args):
        normed, pull = jax.vjp(lambda *args: function(*args, EPSILON, pool), *args)
        return *normed, *pull((cotangent.astype(normed[0].dtype), *map(jnp.zeros_like, normed[1:])))[:4]

    return both


def all_results(platform, function, args, cotangent, *, pool=True):
    return [np.asarray(array, np.float32) for array in as_on(platform, with_gradients(function, cotangent, pool=pool))(*args)]


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
    plain = norm_relu_pool(conv2x2(*args[:2]), *args[2:4], EPSILON, pool)
    for result, reference in zip(conv_norm_relu_pool(*args, EPSILON, pool), plain, strict=True):
        np.testing.assert_array_equal(result, reference)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize(("size", "channels"), [((9, 12), 3), ((6, 7), 3), ((12, 5), 3), ((8, 7), NARROW)])
def test_other_platforms_give_what_the_steps_give(size, channels, pool, platform):
    args = arguments(size, channels)
    cotangent = normal(3, 4, *(((size[0] - 1) // 2, (size[1] - 1) // 2) if pool else (size[0] - 1, size[1] - 1)), 6)
    expected = all_results("cpu", step_by_step, args, cotangent, pool=pool)
    for result, reference in zip(all_results(platform, conv_norm_relu_pool, args, cotangent, pool=pool), expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("channels", [3, 20])
def test_in_bfloat16_other_platforms_give_what_the_steps_give_up_to_rounding(channels, platform):
    args, cotangent = arguments((9, 12), channels, jnp.bfloat16), normal(3, 4, 4, 5, 6)
    shapes = [jax.eval_shape(with_gradients(function, cotangent), *args) for function in (conv_norm_relu_pool, step_by_step)]
    assert [array.dtype for array in shapes[0]] == [array.dtype for array in shapes[1]]
    results, expected = (
        all_results(platform, conv_norm_relu_pool, args, cotangent),
        all_results("cpu", step_by_step, args, cotangent),
    )
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=3e-2, atol=3e-2 * np.abs(reference).max())


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_of_equal_values_the_first_gets_the_gradient_and_a_closed_window_none(platform):
    """Whole numbers, so that windows of the convolution tie; a bias far below zero closes every window of one channel."""
    x, kernel, scale, bias, shift = arguments((9, 12), 3)
    args = jnp.round(x), jnp.round(2 * kernel), scale, np.where(np.arange(6) == 0, np.float32(-50), bias), shift
    cotangent = normal(3, 4, 4, 5, 6)
    results, expected = (all_results(*form, args, cotangent) for form in ((platform, conv_norm_relu_pool), ("cpu", step_by_step)))
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=2e-4, atol=2e-4)
    assert not results[0][..., 0].any()
    assert not results[4][..., 0].any()


@pytest.mark.parametrize("distance", [0, 3, 10])
def test_a_variance_of_one_pass_is_exact_near_its_shift(distance):
    """Against float64, for a million values per channel whose mean is `distance` standard deviations from the shift."""
    y = normal(0, 4, 512, 512, 2) * np.array([1e-3, 5.0], np.float32) + np.array([0.2, -7.0], np.float32)
    mean, var = y.mean((0, 1, 2), dtype=np.float64), y.var((0, 1, 2), dtype=np.float64)
    ours = jax.jit(shifted_statistics)(y, jnp.asarray(mean + distance * np.sqrt(var), jnp.float32))
    np.testing.assert_allclose(ours[0], mean, rtol=1e-6)
    np.testing.assert_allclose(ours[1], var, rtol=1e-5 * max(distance, 1) ** 2)


def test_statistics_by_moments_are_exact():
    """Against float64, of residuals as the first block gets them: most near 0, a quarter 0, and a kernel that cancels."""
    rows = np.abs(normal(0, 8, 128, 128, 3)) ** 3
    rows[:, ::2, ::2] = 0
    kernel = normal(1, 2, 2, 3, 4)
    kernel[..., 0] = np.array([1, -1])[:, None] * np.ones((2, 2, 3), np.float32)
    y = np.asarray(plain_conv2x2(jnp.asarray(rows), jnp.asarray(kernel)), np.float64)
    mean, var, moments = jax.jit(lambda x, kernel: statistics_by_moments(view_products(x).sum(0), 8 * 127**2, kernel))(rows, kernel)
    np.testing.assert_allclose(mean, y.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(var, y.var((0, 1, 2)), rtol=1e-5)
    seen = (
        np.concatenate([rows[:, i : i + 127, j : j + 127] for i in (0, 1) for j in (0, 1)], -1).reshape(-1, 12).astype(np.float64)
    )
    covariance = (seen - seen.mean(0)).T @ y.reshape(-1, 4) / len(seen)
    for average, together in (moments, jax.jit(moments_with)(rows, y.astype(np.float32), mean)):
        np.testing.assert_allclose(average, seen.mean(0), rtol=1e-5)
        np.testing.assert_allclose(together, covariance, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_convolve_once_for_forward_and_gradient(platform):
    """The gradient repeats the convolution by name: the compiler must see that it is the same one."""
    args, cotangent = arguments((9, 12), 3), normal(3, 4, 4, 5, 6)

    def convolutions(part):
        def results(*args):
            return part(with_gradients(conv_norm_relu_pool, cotangent)(*args))

        program = jax.jit(lambda *args: as_on(platform, results)(*args)).lower(*args).compile()
        return program.as_text().count(" convolution(")

    assert convolutions(lambda results: results[:3]) == 1
    assert convolutions(lambda results: results) == convolutions(lambda results: results[3:])


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("tpu", False), ("cuda", False)])
def test_images_pass_one_by_one_on_cpu_alone(platform, loops, monkeypatch):
    monkeypatch.setattr(block, "VALUES_AT_ONCE", 0)
    text = lowered_text(platform, lambda *args: conv_norm_relu_pool(*args, EPSILON, True)[0], *arguments((9, 12), 3))
    assert ("stablehlo.while" in text) == loops


def test_gradients_of_kernels_are_summed_over_devices_in_float32():
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    ran = subprocess.run([sys.executable, "-c", ON_FOUR_DEVICES], env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
