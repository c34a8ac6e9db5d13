"""Residual, first convolution and pooling as one operation: each form against its steps one after another."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax.ops import stem, stem_kernels, stem_products
from lfm_jax.ops.block import conv_norm_relu_pool
from lfm_jax.ops.conv import conv_pool_relu
from lfm_jax.ops.npr import Residual, npr_residual
from lfm_jax.ops.stem import Pixels
from lfm_jax.ops.stem_block import in_one
from lfm_jax.ops.stem_kernels import WINDOWS
from lfm_jax.ops.windows import in_windows, kernel_of, window_values, window_values_by_strides, window_weights
from tests.helpers.networks import images, normal
from tests.helpers.platforms import as_on, lowered_text
from tests.ops.test_block import step_by_step

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH = 16
EPSILON = 1e-5
LFM, NPR = Residual(), Residual("signed", scale=2 / 3)
# Rounding: a sum of 12 products in float32, and one more of the result in bfloat16.
TOLERANCE = {jnp.float32: {"rtol": 1e-4, "atol": 1e-3}, jnp.bfloat16: {"rtol": 1e-2, "atol": 1e-3}}

ON_FOUR_DEVICES = """
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from lfm_jax.ops.npr import Residual
from lfm_jax.ops.stem_block import in_one
from lfm_jax.runtime import sharding

assert jax.device_count() == 4
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (8, 6, 8, 3), dtype=np.uint8)
kernel, scale = rng.normal(size=(2, 2, 3, 16)).astype(np.float32), np.full(16, -0.7, np.float32)

def results(images, kernel, scale, form):
    def loss(kernel, scale):
        activations, mean, var = in_one(images, kernel, scale, 0 * scale, 1e-5, Residual(), jnp.float32, form)
        return jnp.square(activations).sum(), (activations, mean, var)

    return jax.grad(loss, (0, 1), has_aux=True)(kernel, scale)

mesh = sharding.data_mesh()
rest, split = sharding.replicated(mesh), sharding.split_batch(mesh)
for form in ("interpreted kernels", "products"):
    of_form = partial(results, form=form)
    alone = jax.jit(of_form)(images, kernel, scale)
    step = jax.jit(of_form, in_shardings=(split, rest, rest)).lower(images, kernel, scale).compile()
    text = step.as_text()
    assert "all-reduce" in text and "all-gather" not in text, text
    for result, expected in zip(jax.tree.leaves(step(images, kernel, scale)), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)
"""


def pixels(dtype=jnp.bfloat16, residual=LFM, shape=(2, 8, 11), **changes):
    return Pixels(jnp.asarray(images(*shape)), MEAN, STD, residual, dtype, **changes)


def levels_of(x, residual, dtype):
    return npr_residual(x.astype(dtype), residual=replace(residual, scale=1.0))


def close(result, expected, dtype):
    result, expected = (np.asarray(array, np.float32) for array in (result, expected))
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(
        result, expected, rtol=tolerance["rtol"], atol=tolerance["atol"] + tolerance["rtol"] * np.abs(expected).max()
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("residual", [LFM, NPR], ids=["abs", "signed"])
def test_all_forms_of_scoring_give_what_the_steps_give(dtype, residual):
    """Windows as one product, as a TPU has them, and both functions that pool, for a row of more windows than a kernel takes."""
    x = jnp.asarray(images(2, 6, 2 * WINDOWS + 12))
    kernel, bias = jnp.asarray(normal(0, 2, 2, 3, WIDTH), dtype), 100 * normal(1, WIDTH)
    expected = conv_pool_relu(levels_of(x, residual, dtype), kernel, bias)
    weights = window_weights(kernel)
    values = window_values(x, residual, dtype)
    np.testing.assert_array_equal(window_values_by_strides(x, residual, dtype), values)
    close(in_windows(values, weights[:, :-1], bias), expected, dtype)
    norm = np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32), bias
    for pooled in (partial(stem_kernels.pooled, interpret=True), stem_products.pooled):
        close(pooled(x, weights, *norm, signed=residual is NPR), expected, dtype)


@pytest.mark.parametrize("platform", ["tpu", "cpu"])
@pytest.mark.parametrize("residual", [LFM, NPR], ids=["abs", "signed"])
@pytest.mark.parametrize("shape", [(2, 8, 12), (1, 9, 7)], ids=["even", "odd"])
def test_platforms_score_alike(platform, residual, shape):
    seen = pixels(residual=residual, shape=shape)
    kernel, bias = normal(0, 2, 2, 3, WIDTH), normal(1, WIDTH)
    exact = conv_pool_relu(replace(seen, dtype=jnp.float32).residuals(), jnp.asarray(kernel), bias)
    result = as_on(platform, lambda x: stem.conv_relu_pool(replace(seen, images=x), kernel, bias))(seen.images)
    assert result.dtype == jnp.bfloat16
    close(result, exact, jnp.bfloat16)


def normed(dtype):
    """A float32 kernel that is exact in `dtype`, BatchNorm's scale with both signs, and its bias, which closes channel 0."""
    kernel = jnp.asarray(normal(0, 2, 2, 3, WIDTH), dtype).astype(jnp.float32)
    scale = np.where(np.arange(WIDTH) % 3 == 1, -0.7, 1.3).astype(np.float32)
    return kernel, scale, np.where(np.arange(WIDTH) == 0, -50, normal(2, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("residual", [LFM, NPR], ids=["abs", "signed"])
@pytest.mark.parametrize("form", ["interpreted kernels", "products"])
def test_in_training_all_forms_give_what_the_steps_give_forward_and_gradient(dtype, residual, form):
    x = jnp.asarray(images(2, 6, 12))
    args, cotangent = normed(dtype), jnp.asarray(normal(3, 2, 2, 5, WIDTH), dtype)

    def at_once(*args):
        return in_one(x, *args, EPSILON, residual, dtype, form)

    def steps(kernel, scale, bias):  # in float32, as residuals and kernel are exact in both
        return step_by_step(levels_of(x, residual, jnp.float32), kernel, scale, bias, None, EPSILON, True)

    results = []
    for function in (at_once, steps):
        forward, pull = jax.vjp(function, *args)
        results.append((*forward, *pull((cotangent.astype(forward[0].dtype), *map(jnp.zeros_like, forward[1:])))))
    assert results[0][0].dtype == dtype
    assert not np.asarray(results[0][0][..., 0]).any()
    assert not np.asarray(results[0][3][..., 0]).any()
    for result, expected in zip(*results, strict=True):
        close(result, expected, dtype)


@pytest.mark.parametrize(
    "weights_gradient",
    [partial(stem_kernels.weights_gradient, interpret=True), stem_products.weights_gradient],
    ids=["kernels", "products"],
)
def test_of_equal_sums_the_first_gets_the_gradient(weights_gradient):
    """All pixels of a block but one are its anchor, and the kernel sees that one twice."""
    x = np.zeros((1, 4, 4, 3), np.uint8)
    x[:, 0, 1] = 9
    kernel = np.zeros((2, 2, 3, WIDTH), np.float32)
    kernel[0, :, 0] = 1  # the sums at (0, 0) and (0, 1) are 9 each
    products = weights_gradient(
        x, window_weights(jnp.asarray(kernel)), *np.zeros((1, WIDTH), np.float32), *np.ones((2, WIDTH), np.float32),
        jnp.ones((1, 1, 1, WIDTH)), signed=False,
    )  # fmt: skip
    assert np.asarray(products[0]).any()
    assert not np.asarray(products[1:]).any()


def test_weights_of_windows_and_their_gradient_belong_together():
    kernel, other = jnp.asarray(normal(0, 2, 2, 3, 5)), jnp.asarray(normal(1, 4, 16, 5))
    np.testing.assert_allclose((window_weights(kernel) * other).sum(), (kernel * kernel_of(other)).sum(), rtol=1e-5)


@pytest.mark.parametrize(("platform", "dtype"), [("cpu", jnp.float32), ("cpu", jnp.bfloat16), ("rocm", jnp.bfloat16)])
def test_the_first_block_of_pixels_is_that_of_their_residuals(platform, dtype):
    """To the bit where the steps are taken one after another: in float32, and where there is no other form."""
    seen, (kernel, scale, bias) = pixels(dtype), normed(dtype)
    norm = scale, bias, np.zeros(WIDTH, np.float32), EPSILON

    def of_pixels(x):
        return stem.conv_norm_relu_pool(replace(seen, images=x), kernel, *norm)

    def of_residuals(x):
        return conv_norm_relu_pool(replace(seen, images=x).residuals(), kernel.astype(dtype), *norm, True)

    for result, expected in zip(as_on(platform, of_pixels)(seen.images), as_on(platform, of_residuals)(seen.images), strict=True):
        if platform == "cpu" and dtype == jnp.bfloat16:
            close(result, expected, dtype)
        else:
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("seen", "width", "kernel"),
    [
        (pixels(), 64, True),
        (pixels(kernels=False), 64, False),
        (pixels(), 48, False),
        (pixels(jnp.float32), 64, False),
        (pixels(residual=Residual(factor=4)), 64, False),
        (pixels(residual=Residual(anchor=(0, 1))), 64, False),
        (pixels(residual=Residual("none")), 64, False),
    ],
    ids=["usual", "switched off", "odd width", "float32", "factor", "anchor", "plain pixels"],
)
def test_a_gpu_gets_a_kernel_where_one_fits_and_jax_makes_it_without_a_gpu(seen, width, kernel):
    assert stem_kernels.can_be_lowered() == (jax.__version_info__ < (0, 12))
    weights, bias = np.zeros((2, 2, 3, width), np.float32), np.zeros(width, np.float32)
    scored = lowered_text("cuda", lambda x: stem.conv_relu_pool(replace(seen, images=x), weights, bias), seen.images)
    assert ("xla.gpu.triton" in scored) == (kernel and stem_kernels.can_be_lowered())
    assert "xla.gpu.triton" not in lowered_text("rocm", lambda x: stem.conv_relu_pool(seen, weights, bias), seen.images)


@pytest.mark.parametrize(("capability", "fits"), [("7.5", False), ("8.0", True), ("10.0", True), ("gfx90a", False)])
def test_a_gpu_without_bfloat16_units_gets_no_kernel(capability, fits, monkeypatch):
    gpu = type("Gpu", (), {"platform": "gpu", "compute_capability": capability})
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu()])
    monkeypatch.setattr(stem_kernels, "can_be_lowered", lambda: True)
    assert pixels().fit_kernels(64) == fits


def test_each_device_takes_its_own_images_and_gradients_are_summed():
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    ran = subprocess.run([sys.executable, "-c", ON_FOUR_DEVICES], env=env, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
