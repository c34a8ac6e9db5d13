"""Layers with PyTorch's conventions: initialisation, and BatchNorm with its counter and unbiased variance.

Flax's own BatchNorm keeps the biased variance in its running average and has no counter, so neither the
released training run nor the released file could be reproduced with it.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]


def torch_uniform(fan_in: int) -> Initializer:
    """PyTorch's default for conv and linear, weights and biases alike: uniform +-1 / sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class BatchNorm(nn.Module):
    """x [..., C] -> float32 [..., C], statistics over every axis but the last.

    Statistics are float32 whatever the dtype of `x`. In training the batch's own mean and biased variance
    normalise, and the running averages move by `momentum` towards the mean and the *unbiased* variance, as
    in PyTorch. `count` is PyTorch's num_batches_tracked.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
        width = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, width)
        running_var = self.variable("batch_stats", "var", jnp.ones, width)
        count = self.variable("batch_stats", "count", jnp.zeros, (), jnp.int32)
        x = x.astype(jnp.float32)
        if use_running_average:
            mean, var = running_mean.value, running_var.value
        else:
            axes = tuple(range(x.ndim - 1))
            mean = x.mean(axes)
            # Two passes: E[x^2] - E[x]^2 loses the small variances of near-empty residual channels.
            var = jnp.square(x - mean).mean(axes)
            if not self.is_initializing():
                samples = x.size // x.shape[-1]
                unbiased = var * (samples / max(samples - 1, 1))
                running_mean.value += self.momentum * (mean - running_mean.value)
                running_var.value += self.momentum * (unbiased - running_var.value)
                count.value += 1
        return (x - mean) * (scale * jax.lax.rsqrt(var + self.epsilon)) + bias
