"""One block of the network in training: convolution, BatchNorm, ReLU and 2 x 2 max-pooling as a single operation.

The form is chosen here for each platform, when a program is lowered: `ops.device_block` for GPUs and TPUs, and for CPUs the
steps of `ops.norm` or, with few input channels, what is written below. There a convolution returns far more values than it
takes, and writing them to memory costs more than computing them; so a few images at a time are convolved and pooled in the
cache, and convolved again for the gradient.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lfm_jax.ops import norm
from lfm_jax.ops.conv import WIDE, conv2x2, fast_conv2x2, fast_conv2x2_gradient
from lfm_jax.ops.device_block import conv_pool_norm_relu
from lfm_jax.ops.norm import Normed, norm_relu_pool
from lfm_jax.ops.pieces import VALUES_AT_ONCE, in_pieces

Saved = tuple[jax.Array, ...]


def conv_norm_relu_pool(
    x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, shift: jax.Array, epsilon: float, pool: bool
) -> Normed:
    """`norm_relu_pool` of x [B, H, W, C] convolved with kernel [2, 2, C, O]; scale and bias are BatchNorm's, [O].

    Where the variance is taken in one pass, it is of values less `shift` [O], and the more exact the nearer that is to their
    mean. Results do not depend on it otherwise.
    """
    options: dict[str, Any] = {"epsilon": epsilon, "pool": pool}
    gpu, tpu = (functools.partial(conv_pool_norm_relu, **options, device=device) for device in ("gpu", "tpu"))
    cpu = functools.partial(_on_cpu, **options)
    return lax.platform_dependent(x, kernel, scale, bias, shift, cpu=cpu, tpu=tpu, default=gpu)


def _on_cpu(
    x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, shift: jax.Array, *, epsilon: float, pool: bool
) -> Normed:
    del shift
    if pool and x.shape[-1] < WIDE:
        return _pooled(x, kernel, scale, bias, epsilon)
    return norm_relu_pool(conv2x2(x, kernel), scale, bias, epsilon, pool)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _pooled(x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> Normed:
    return _forward(x, kernel, scale, bias, epsilon)[0]


def _forward(x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> tuple[Normed, Saved]:
    def piece(x: jax.Array, kernel: jax.Array, scale: jax.Array) -> tuple[Saved, Saved]:
        y = fast_conv2x2(x, kernel)
        wide = y.astype(jnp.float32)
        mean = wide.mean((1, 2))
        return (norm.strongest(norm.windows(y), scale), mean, jnp.square(wide - mean[:, None, None]).mean((1, 2))), ()

    (strongest, means, variances), _ = in_pieces(piece, (x,), (kernel, scale), at_once=_images_at_once(x, kernel))
    mean = means.mean(0)
    var = (variances + jnp.square(means - mean)).mean(0)
    result = norm.finish(strongest, mean, scale * lax.rsqrt(var + epsilon), bias)
    return (result, mean, var), (x, kernel, scale, bias, mean, var, strongest)


def _backward(epsilon: float, saved: Saved, grads: Normed) -> Saved:
    x, kernel, scale, bias, mean, var, strongest = saved
    inverse = lax.rsqrt(var + epsilon)
    grad, scale_grad, bias_grad = norm.through_relu(strongest, grads[0], mean, inverse, scale, bias)

    def piece(x: jax.Array, grad: jax.Array, kernel: jax.Array, *norms: jax.Array) -> tuple[Saved, Saved]:
        y = fast_conv2x2(x, kernel)
        y_grad = norm.through_norm(y, norm.to_first_strongest(y, norms[2], grad), *norms)
        x_grad, kernel_grad = fast_conv2x2_gradient(x, kernel, y_grad)
        return (x_grad,), (kernel_grad.astype(jnp.float32),)

    count = len(x) * (x.shape[1] - 1) * (x.shape[2] - 1)
    shared = (kernel, mean, inverse, scale, scale_grad / count, bias_grad / count)
    (x_grad,), (kernel_grad,) = in_pieces(piece, (x, grad), shared, at_once=_images_at_once(x, kernel))
    return x_grad, kernel_grad.astype(kernel.dtype), scale_grad, bias_grad


_pooled.defvjp(_forward, _backward)


def _images_at_once(x: jax.Array, kernel: jax.Array) -> int:
    return VALUES_AT_ONCE // (x.shape[1] * x.shape[2] * kernel.shape[-1])
