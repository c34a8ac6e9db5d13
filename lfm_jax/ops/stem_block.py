"""The first block of the network in training from pixels, by kernels on GPUs and by products on CPUs, on any number of them.

As in `ops.device_block`, the sign of BatchNorm's scale goes into the kernel, so that the largest sum of a window is also the
strongest. The batch's mean and variance follow from the moments of the residuals, which are known before the convolution. So
one function goes from pixels to pooled activations, and nothing else is kept for the gradient.
"""

import functools
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lfm_jax.ops import stem_kernels, stem_products
from lfm_jax.ops.device_block import Saved, sign_of, statistics_by_moments, view_products
from lfm_jax.ops.norm import Normed
from lfm_jax.ops.npr import Residual, npr_residual
from lfm_jax.ops.partitioned import by_image
from lfm_jax.ops.pieces import in_pieces
from lfm_jax.ops.windows import kernel_of, window_weights

Form = Literal["kernels", "interpreted kernels", "products"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7))
def in_one(
    images: jax.Array,
    kernel: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
    residual: Residual,
    dtype: Any,
    form: Form,
) -> Normed:
    """`ops.stem.conv_norm_relu_pool`, for a float32 kernel [2, 2, 3, O] of residuals in whole levels."""
    return _forward(images, kernel, scale, bias, epsilon, residual, dtype, form)[0]


def _forward(
    images: jax.Array,
    kernel: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
    residual: Residual,
    dtype: Any,
    form: Form,
) -> tuple[Normed, Saved]:
    sign = sign_of(scale)
    signed = (kernel * sign).astype(dtype)
    count = len(images) * (images.shape[1] - 1) * (images.shape[2] - 1)
    mean, var, moments = statistics_by_moments(_view_products(images, residual, dtype, form), count, signed)
    weights, factor = window_weights(signed), jnp.abs(scale) * lax.rsqrt(var + epsilon)
    result = _pooled(form, images, weights, mean, factor, bias, signed=residual.kind == "signed")
    return (result, mean * sign, var), (images, weights, scale, bias, mean, var, moments)


def _backward(epsilon: float, residual: Residual, dtype: Any, form: Form, saved: Saved, grads: Normed) -> Saved:
    images, weights, scale, bias, mean, var, (average, covariance) = saved
    sign, inverse = sign_of(scale), lax.rsqrt(var + epsilon)
    factor = jnp.abs(scale) * inverse
    arriving = grads[0].astype(dtype)
    products = _weights_gradient(form, images, weights, mean, factor, bias, arriving, signed=residual.kind == "signed")
    bias_grad = products[:, -1].sum(0)
    size_grad = inverse * ((products * weights.astype(jnp.float32)).sum((0, 1)) - mean * bias_grad)
    # What passes through the mean and the variance of the batch is known from the moments.
    direct = kernel_of(products).reshape(covariance.shape)
    kernel_grad = factor * (direct - bias_grad * average[:, None] - size_grad * inverse * covariance)
    kernel_grad = kernel_grad.reshape(2, 2, 3, -1) * sign
    return np.zeros(images.shape, jax.dtypes.float0), kernel_grad, size_grad * sign, bias_grad


in_one.defvjp(_forward, _backward)


def _view_products(images: jax.Array, residual: Residual, dtype: Any, form: Form) -> jax.Array:
    in_levels = replace(residual, scale=1.0)
    if form != "products":
        return view_products(npr_residual(images.astype(dtype), residual=in_levels)).sum(0)

    def piece(images: jax.Array) -> tuple[tuple[()], tuple[jax.Array]]:
        return (), (view_products(npr_residual(images.astype(jnp.float32), residual=in_levels)).sum(0),)

    (_, (products,)) = in_pieces(piece, (images,), (), at_once=1)
    return products


def _pooled(form: Form, *args: jax.Array, signed: bool) -> jax.Array:
    if form == "products":
        return stem_products.pooled(*args, signed=signed)
    kernel = functools.partial(stem_kernels.pooled, signed=signed, interpret=form == "interpreted kernels")
    return by_image(lambda *args: (kernel(*args),), args, split=(True, False, False, False, False), summed=(False,))[0]


def _weights_gradient(form: Form, *args: jax.Array, signed: bool) -> jax.Array:
    if form == "products":
        return stem_products.weights_gradient(*args, signed=signed)
    kernel = functools.partial(stem_kernels.weights_gradient, signed=signed, interpret=form == "interpreted kernels")
    return by_image(lambda *args: (kernel(*args),), args, split=(True, False, False, False, False, True), summed=(True,))[0]
