"""Training's BatchNorm, ReLU and 2 x 2 max-pool as one operation, whose gradient on CPU passes over the activations once.

In: what a convolution gave, [B, H, W, C]. Out: the pooled activations and the batch's statistics. Nothing but
the input is kept for the backward pass: a window hands its gradient to one position, so that both sums of
BatchNorm's gradient are sums over windows, a quarter of the positions. Step by step, as autodiff would take
it, the same costs a dozen passes over the largest arrays there are. Elsewhere than on CPU XLA's own gradient
stays; the choice is made when a program is lowered.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lfm_jax.ops.conv import max_pool2x2

Normed = tuple[jax.Array, jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def norm_relu_pool(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, pool: bool) -> Normed:
    """x [B, H, W, C], scale and bias [C] -> [B, H // 2, W // 2, C] (`pool`) or [B, H, W, C], and mean, variance [C].

    Normalised by the mean and the biased variance over B, H and W, in float32; the result has the dtype of `x`.
    The statistics are for running averages: no gradient passes through them.
    """
    mean, var = statistics(x)
    return _apply(x, mean, var, scale, bias, epsilon, pool), mean, var


def _forward(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, pool: bool) -> tuple[Normed, tuple[jax.Array, ...]]:
    mean, var = statistics(x)
    return (_apply(x, mean, var, scale, bias, epsilon, pool), mean, var), (x, mean, var, scale, bias)


def _backward(epsilon: float, pool: bool, saved: tuple[jax.Array, ...], grads: Normed) -> tuple[jax.Array, ...]:
    own, stock = (functools.partial(function, epsilon=epsilon, pool=pool) for function in (_gradient, _stock_gradient))
    return lax.platform_dependent(*saved, grads[0], cpu=own, default=stock)


norm_relu_pool.defvjp(_forward, _backward)


def statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x [B, H, W, C] -> mean and biased variance [C], float32."""
    x = x.astype(jnp.float32)
    mean = x.mean((0, 1, 2))
    # Two passes: E[x^2] - E[x]^2 loses the small variances of near-empty residual channels.
    return mean, jnp.square(x - mean).mean((0, 1, 2))


def _apply(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, pool: bool
) -> jax.Array:
    factor = scale * lax.rsqrt(var + epsilon)
    if not pool:
        return finish(x, mean, factor, bias)
    return lax.platform_dependent(
        x, mean, factor, bias, cpu=lambda x, *norm: finish(strongest(windows(x), norm[1]), *norm), default=_finish_and_pool
    )


def finish(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    return jax.nn.relu((x.astype(jnp.float32) - mean) * factor + bias).astype(x.dtype)


def _finish_and_pool(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    return max_pool2x2(finish(x, mean, factor, bias))


def _gradient(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, grad: jax.Array, *, epsilon: float, pool: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    norm = (mean, lax.rsqrt(var + epsilon), scale, bias)
    grad, scale_grad, bias_grad = through_relu(strongest(windows(x), scale) if pool else x, grad, *norm)
    spread = to_first_strongest(x, scale, grad) if pool else grad
    count = x.size // x.shape[-1]
    return through_norm(x, spread, *norm[:3], scale_grad / count, bias_grad / count), scale_grad, bias_grad


def through_relu(
    x: jax.Array, grad: jax.Array, mean: jax.Array, inverse: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x, grad [B, h, w, C] behind the pooling -> the gradient before ReLU, float32, and those of scale and bias [C]."""
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
    """x, grad [B, H, W, C] around BatchNorm, and its parameters' gradients a position [C] -> the gradient of x, with its dtype."""
    standard = (x.astype(jnp.float32) - mean) * inverse
    return (scale * inverse * (grad - mean_bias_grad - standard * mean_scale_grad)).astype(x.dtype)


def _stock_gradient(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, grad: jax.Array, *, epsilon: float, pool: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    del mean, var

    def plain(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        mean, var = statistics(x)
        return (_finish_and_pool if pool else finish)(x, mean, scale * lax.rsqrt(var + epsilon), bias)

    return jax.vjp(plain, x, scale, bias)[1](grad)


def windows(x: jax.Array) -> list[jax.Array]:
    """x [B, H, W, C] -> the four positions of its aligned 2 x 2 windows, row by row, each [B, H // 2, W // 2, C]."""
    batch, height, width, channels = x.shape
    height, width = height // 2, width // 2
    windows = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels)
    return [windows[:, :, row, :, col] for row in (0, 1) for col in (0, 1)]


def strongest(windows: list[jax.Array], factor: jax.Array) -> jax.Array:
    """Whatever of each window `factor` [C] makes the largest: normalising after pooling rounds as before it."""
    a, b, c, d = windows
    highest = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    return jnp.where(factor < 0, jnp.minimum(jnp.minimum(a, b), jnp.minimum(c, d)), highest)


def to_first_strongest(x: jax.Array, factor: jax.Array, grad: jax.Array) -> jax.Array:
    """grad of the windows -> [B, H, W, C]: at the first strongest position of each, else 0."""
    a, b, c, d = (jnp.where(factor < 0, -part, part) for part in windows(x))
    upper = jnp.maximum(a, b) >= jnp.maximum(c, d)
    place = jnp.where(upper, jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3))
    batch, height, width, channels = grad.shape
    numbers = jnp.arange(4).reshape(2, 1, 2, 1)
    spread = jnp.where(place[:, :, None, :, None] == numbers, grad[:, :, None, :, None], 0)
    spread = spread.reshape(batch, 2 * height, 2 * width, channels)
    return jnp.pad(spread, ((0, 0), (0, x.shape[1] - 2 * height), (0, x.shape[2] - 2 * width), (0, 0)))
