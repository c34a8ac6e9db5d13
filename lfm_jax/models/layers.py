"""Layers with PyTorch's conventions: initialisation, and BatchNorm (with all around it), its counter and its unbiased variance.

Flax's own BatchNorm keeps the biased variance in its running average and has no counter, so neither the
released training run nor the released file could be reproduced with it.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lfm_jax.ops.block import conv_norm_relu_pool
from lfm_jax.ops.conv import conv2x2, max_pool2x2

Initializer = Callable[..., jax.Array]


def torch_uniform(fan_in: int) -> Initializer:
    """PyTorch's default for conv and linear, weights and biases alike: uniform +-1 / sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class BatchNorm(nn.Module):
    """x [B, H, W, C], kernel [2, 2, C, O], conv_bias [O] -> ReLU(BatchNorm(conv2x2(x, kernel) + conv_bias)), max-pooled if asked.

    The convolution is in it because in training all of this is one operation (`ops.block`). Statistics are over every
    axis but the last, and float32 whatever the dtype of `x`, which the result has. In training the batch's own mean
    and biased variance normalise, and the running averages move by `momentum` towards the mean and the *unbiased*
    variance, as in PyTorch. `count` is PyTorch's num_batches_tracked.
    In evaluation the activations before pooling are sown as "activations".
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: jax.Array, kernel: jax.Array, conv_bias: jax.Array, *, pool: bool, use_running_average: bool
    ) -> jax.Array:
        width = (kernel.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, width)
        running_var = self.variable("batch_stats", "var", jnp.ones, width)
        count = self.variable("batch_stats", "count", jnp.zeros, (), jnp.int32)
        if use_running_average:
            mean, factor = running_mean.value, scale * jax.lax.rsqrt(running_var.value + self.epsilon)
            shifted = (conv2x2(x, kernel) + conv_bias.astype(x.dtype)).astype(jnp.float32)
            activations = nn.relu((shifted - mean) * factor + bias).astype(x.dtype)
            self.sow("intermediates", "activations", activations)
            return max_pool2x2(activations) if pool else activations
        # The batch's mean takes the convolution's bias out again: only the running mean has it, and it gets no gradient.
        # What would be computed for it is rounding noise, which Adam blows up to steps of the full learning rate,
        # other ones on every number of devices.
        activations, mean, var = conv_norm_relu_pool(x, kernel, scale, bias, self.epsilon, pool)
        if not self.is_initializing():
            samples = x.shape[0] * (x.shape[1] - 1) * (x.shape[2] - 1)
            unbiased = var * (samples / max(samples - 1, 1))
            running_mean.value += self.momentum * (mean + conv_bias - running_mean.value)
            running_var.value += self.momentum * (unbiased - running_var.value)
            count.value += 1
        return activations
