"""The first block of the network in training by the kernels of `ops.stem_kernels`, on any number of GPUs.

As in `ops.device_block`, the sign of BatchNorm's scale goes into the kernel, so that the largest sum of a window is also the
strongest. The batch's mean and variance follow from the moments of the residuals, which are known before the convolution. So
one kernel goes from pixels to pooled activations, and nothing else is kept for the gradient.
"""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lfm_jax.ops import stem_kernels
from lfm_jax.ops.device_block import Saved, sign_of, statistics_by_moments
from lfm_jax.ops.norm import Normed
from lfm_jax.ops.npr import Residual, npr_residual
from lfm_jax.ops.partitioned import by_image
from lfm_jax.ops.windows import kernel_of, window_weights


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7))
def by_kernels(
    images: jax.Array,
    kernel: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
    residual: Residual,
    dtype: Any,
    interpret: bool,
) -> Normed:
    """`ops.stem.conv_norm_relu_pool`, for a float32 kernel [2, 2, 3, O] of residuals in whole levels."""
    return _forward(images, kernel, scale, bias, epsilon, residual, dtype, interpret)[0]


def _forward(
    images: jax.Array,
    kernel: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
    residual: Residual,
    dtype: Any,
    interpret: bool,
) -> tuple[Normed, Saved]:
    sign = sign_of(scale)
    signed = (kernel * sign).astype(dtype)
    levels = npr_residual(images.astype(dtype), residual=replace(residual, scale=1.0))
    mean, var, moments = statistics_by_moments(levels, signed)
    weights, factor = window_weights(signed), jnp.abs(scale) * lax.rsqrt(var + epsilon)
    result = _pooled(images, weights, mean, factor, bias, residual.kind == "signed", interpret)
    return (result, mean * sign, var), (images, weights, scale, bias, mean, var, moments)


def _backward(epsilon: float, residual: Residual, dtype: Any, interpret: bool, saved: Saved, grads: Normed) -> Saved:
    images, weights, scale, bias, mean, var, (average, covariance) = saved
    sign, inverse = sign_of(scale), lax.rsqrt(var + epsilon)
    factor = jnp.abs(scale) * inverse
    arriving = grads[0].astype(dtype)
    products = _weights_gradient(images, weights, mean, factor, bias, arriving, residual.kind == "signed", interpret)
    bias_grad = products[:, -1].sum(0)
    size_grad = inverse * ((products * weights.astype(jnp.float32)).sum((0, 1)) - mean * bias_grad)
    # What passes through the mean and the variance of the batch is known from the moments.
    direct = kernel_of(products).reshape(covariance.shape)
    kernel_grad = factor * (direct - bias_grad * average[:, None] - size_grad * inverse * covariance)
    kernel_grad = kernel_grad.reshape(2, 2, 3, -1) * sign
    return np.zeros(images.shape, jax.dtypes.float0), kernel_grad, size_grad * sign, bias_grad


by_kernels.defvjp(_forward, _backward)


def _pooled(
    images: jax.Array, weights: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array, signed: bool, interpret: bool
) -> jax.Array:
    kernel = functools.partial(stem_kernels.pooled, signed=signed, interpret=interpret)
    args = images, weights, mean, factor, bias
    return by_image(lambda *args: (kernel(*args),), args, split=(True, False, False, False, False), summed=(False,))[0]


def _weights_gradient(
    images: jax.Array,
    weights: jax.Array,
    mean: jax.Array,
    factor: jax.Array,
    bias: jax.Array,
    grad: jax.Array,
    signed: bool,
    interpret: bool,
) -> jax.Array:
    kernel = functools.partial(stem_kernels.weights_gradient, signed=signed, interpret=interpret)
    args = images, weights, mean, factor, bias, grad
    return by_image(lambda *args: (kernel(*args),), args, split=(True, False, False, False, False, True), summed=(True,))[0]
