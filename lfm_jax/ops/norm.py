"""BatchNorm in training, ReLU and 2 x 2 max-pooling as one operation, whose own gradient passes over the activations once.

Nothing but the input is kept for the backward pass. Each window hands its gradient to a single position, so both sums of
BatchNorm's gradient are sums over windows, a quarter of the positions. Taken step by step, as autodiff takes it, the
gradient costs a dozen passes over the largest arrays of the network. This is the form for CPUs; `ops.block` chooses.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Normed = tuple[jax.Array, jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def norm_relu_pool(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, pool: bool) -> Normed:
    """Normalises x by its mean and biased variance over B, H and W, then ReLU, then 2 x 2 max-pooling if `pool`.

    Args:
      x: what a convolution returned, [B, H, W, C] of any float dtype; statistics are computed in float32.
      scale: BatchNorm's, [C].
      bias: BatchNorm's, [C].
      epsilon: added to the variance.
      pool: whether to pool.

    Returns:
      activations of the dtype of `x`, [B, H // 2, W // 2, C] or [B, H, W, C], and the mean and variance [C]. The statistics
      are for running averages: no gradient passes through them.
    """
    mean, var = statistics(x)
    return _apply(x, mean, var, scale, bias, epsilon, pool), mean, var


def _forward(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, pool: bool) -> tuple[Normed, tuple[jax.Array, ...]]:
    mean, var = statistics(x)
    return (_apply(x, mean, var, scale, bias, epsilon, pool), mean, var), (x, mean, var, scale, bias)


def _backward(epsilon: float, pool: bool, saved: tuple[jax.Array, ...], grads: Normed) -> tuple[jax.Array, ...]:
    x, mean, var, scale, bias = saved
    norm = (mean, lax.rsqrt(var + epsilon), scale, bias)
    grad, scale_grad, bias_grad = through_relu(strongest(windows(x), scale) if pool else x, grads[0], *norm)
    grad_at_x = to_first_strongest(x, scale, grad) if pool else grad
    count = x.size // x.shape[-1]
    return through_norm(x, grad_at_x, *norm[:3], scale_grad / count, bias_grad / count), scale_grad, bias_grad


norm_relu_pool.defvjp(_forward, _backward)


def statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean and biased variance [C] of x [B, H, W, C], in float32."""
    x = x.astype(jnp.float32)
    mean = x.mean((0, 1, 2))
    # Two passes: E[x^2] - E[x]^2 loses the small variances of near-empty residual channels.
    return mean, jnp.square(x - mean).mean((0, 1, 2))


def _apply(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, pool: bool
) -> jax.Array:
    factor = scale * lax.rsqrt(var + epsilon)
    return finish(strongest(windows(x), factor) if pool else x, mean, factor, bias)


def finish(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    """ReLU((x - mean) * factor + bias), computed in float32 and returned in the dtype of x."""
    return jax.nn.relu((x.astype(jnp.float32) - mean) * factor + bias).astype(x.dtype)


def through_relu(
    x: jax.Array, grad: jax.Array, mean: jax.Array, inverse: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradient before ReLU, float32 [B, h, w, C], and those of scale and bias [C].

    `x` is the input of BatchNorm at the strongest position of each window, and `grad` the gradient of the result, both
    [B, h, w, C]; `inverse` is 1 / sqrt(variance + epsilon).
    """
    standard = (x.astype(jnp.float32) - mean) * inverse
    grad = jnp.where(standard * scale + bias > 0, grad.astype(jnp.float32), 0)
    return grad, (grad * standard).sum((0, 1, 2)), grad.sum((0, 1, 2))


def through_norm(
    x: jax.Array,
    grad: jax.Array,
    mean: jax.Array,
    inverse: jax.Array,
    scale: jax.Array,
    mean_scale_grad: jax.Array,
    mean_bias_grad: jax.Array,
) -> jax.Array:
    """The gradient of BatchNorm's input x [B, H, W, C], of its dtype.

    `grad` is the gradient of BatchNorm's result [B, H, W, C]; the last two arguments are the gradients of scale and bias
    divided by the number of positions, [C].
    """
    standard = (x.astype(jnp.float32) - mean) * inverse
    return (scale * inverse * (grad - mean_bias_grad - standard * mean_scale_grad)).astype(x.dtype)


def windows(x: jax.Array) -> list[jax.Array]:
    """The four positions of the aligned 2 x 2 windows of x [B, H, W, C], row by row, each [B, H // 2, W // 2, C]."""
    batch, height, width, channels = x.shape
    height, width = height // 2, width // 2
    windows = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels)
    return [windows[:, :, row, :, col] for row in (0, 1) for col in (0, 1)]


def strongest(windows: list[jax.Array], factor: jax.Array) -> jax.Array:
    """The value of each window that is largest once multiplied by `factor` [C], the smallest where that is negative.

    So pooling may come before normalising, with the same rounding.
    """
    a, b, c, d = windows
    highest = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    return jnp.where(factor < 0, jnp.minimum(jnp.minimum(a, b), jnp.minimum(c, d)), highest)


def first_largest(parts: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The largest of four arrays at each place, and the number of the first of them that has it, 0 to 3."""
    a, b, c, d = parts
    above, below = jnp.maximum(a, b), jnp.maximum(c, d)
    number = jnp.where(above >= below, jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3))
    return jnp.maximum(above, below), number


def to_first_strongest(x: jax.Array, factor: jax.Array, grad: jax.Array) -> jax.Array:
    """Puts the gradient of each window [B, H // 2, W // 2, C] at its first strongest position, 0 elsewhere: [B, H, W, C]."""
    _, strongest_place = first_largest([jnp.where(factor < 0, -part, part) for part in windows(x)])
    batch, height, width, channels = grad.shape
    places = jnp.arange(4).reshape(2, 1, 2, 1)
    x_grad = jnp.where(strongest_place[:, :, None, :, None] == places, grad[:, :, None, :, None], 0)
    x_grad = x_grad.reshape(batch, 2 * height, 2 * width, channels)
    return jnp.pad(x_grad, ((0, 0), (0, x.shape[1] - 2 * height), (0, x.shape[2] - 2 * width), (0, 0)))
