"""BatchNorm, ReLU and max-pooling in one, as CPUs compute it, against the plain composition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax.ops.norm import norm_relu_pool
from tests.helpers.networks import normal


def plain(x, scale, bias, pool):
    """With every step written out, and the pooling as a maximum over a reshape."""
    x = x.astype(jnp.float32)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    x = jax.nn.relu((x - mean) / jnp.sqrt(var + 1e-5) * scale + bias)
    if pool:
        height, width = x.shape[1] // 2, x.shape[2] // 2
        x = x[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2, -1).max((2, 4))
    return x


SHAPES = [(6, 8), (7, 5), (2, 3)]
SCALE = np.array([1.5, -0.7, 0.3], np.float32)  # a negative scale turns the largest of a window into the smallest


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("size", SHAPES)
def test_it_equals_the_steps_one_by_one_forward_and_gradient(size, pool):
    x, bias = 3 + 2 * normal(0, 2, *size, 3), normal(1, 3)
    out, mean, var = norm_relu_pool(x, SCALE, bias, 1e-5, pool)
    expected, gradient = jax.vjp(lambda *args: plain(*args, pool), x, SCALE, bias)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-5)
    cotangent = normal(2, *expected.shape)
    gradients = jax.vjp(lambda *args: norm_relu_pool(*args, 1e-5, pool)[0], x, SCALE, bias)[1](cotangent)
    for result, reference in zip(gradients, gradient(cotangent), strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-5)


def test_bfloat16_comes_out_as_bfloat16_with_float32_statistics():
    x = jnp.asarray(normal(0, 2, 6, 6, 3), jnp.bfloat16)
    out, mean, _ = norm_relu_pool(x, SCALE, normal(1, 3), 1e-5, True)
    assert (out.dtype, mean.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(out.astype(jnp.float32), plain(x, SCALE, normal(1, 3), True), rtol=1e-2, atol=1e-2)
