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
from lfm_jax.ops.conv import conv2x2, max_pool2x2, padded_conv
from lfm_jax.ops.norm import statistics

Initializer = Callable[..., jax.Array]


def torch_uniform(fan_in: int) -> Initializer:
    """PyTorch's default for conv and linear, weights and biases alike: uniform +-1 / sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # torchvision's for the convolutions of ResNets


def inside(sides: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """sides [B, 2] (height, width) within `shape` (H, W) -> mask [B, H, W]."""
    rows, columns = (jnp.arange(length) < sides[:, axis, None] for axis, length in enumerate(shape))
    return rows[:, :, None] & columns[:, None, :]


class RunningAverages:
    """What BatchNorm goes by in evaluation, variables of the Flax module that is being called; `count`: num_batches_tracked."""

    def __init__(self, module: nn.Module, width: int):
        self.mean = module.variable("batch_stats", "mean", jnp.zeros, (width,))
        self.var = module.variable("batch_stats", "var", jnp.ones, (width,))
        self.count = module.variable("batch_stats", "count", jnp.zeros, (), jnp.int32)
        self._fixed = module.is_initializing()

    def move(self, mean: jax.Array, var: jax.Array, *, samples: int, momentum: float) -> None:
        """By `momentum` towards a batch's mean and the unbiased variance that follows from its biased one."""
        if self._fixed:
            return
        unbiased = var * (samples / max(samples - 1, 1))
        self.mean.value += momentum * (mean - self.mean.value)
        self.var.value += momentum * (unbiased - self.var.value)
        self.count.value += 1


class BatchNorm(nn.Module):
    """x [B, H, W, C], kernel [2, 2, C, O], conv_bias [O] -> ReLU(BatchNorm(conv2x2(x, kernel) + conv_bias)), max-pooled if asked.

    The convolution is in it because in training all of this is one operation (`ops.block`). Statistics are over every
    axis but the last, and float32 whatever the dtype of `x`, which the result has. In training the batch's own mean
    and biased variance normalise, and the running averages move by `momentum` towards the mean and the *unbiased*
    variance, as in PyTorch.
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
        running = RunningAverages(self, *width)
        if use_running_average:
            mean, factor = running.mean.value, scale * jax.lax.rsqrt(running.var.value + self.epsilon)
            shifted = (conv2x2(x, kernel) + conv_bias.astype(x.dtype)).astype(jnp.float32)
            activations = nn.relu((shifted - mean) * factor + bias).astype(x.dtype)
            self.sow("intermediates", "activations", activations)
            return max_pool2x2(activations) if pool else activations
        # The batch's mean takes the convolution's bias out again: only the running mean has it, and it gets no gradient.
        # What would be computed for it is rounding noise, which Adam blows up to steps of the full learning rate,
        # other ones on every number of devices.
        activations, mean, var = conv_norm_relu_pool(x, kernel, scale, bias, self.epsilon, pool)
        samples = x.shape[0] * (x.shape[1] - 1) * (x.shape[2] - 1)
        running.move(mean + conv_bias, var, samples=samples, momentum=self.momentum)
        return activations


class ConvNorm(nn.Module):
    """x [B, H, W, C] -> BatchNorm(conv(x)) [B, H', W', width]: `side` x `side`, zero-padded (see `ops.conv.padded_conv`), no bias.

    BatchNorm as above, in plain steps.
    """

    width: int
    side: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        kernel = self.param("kernel", kaiming_fan_out, (self.side, self.side, x.shape[-1], self.width))
        scale = self.param("scale", nn.initializers.ones, (self.width,))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        running = RunningAverages(self, self.width)
        x = padded_conv(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride)
        mean, var = statistics(x) if train else (running.mean.value, running.var.value)
        if train:
            running.move(mean, var, samples=x.size // self.width, momentum=BatchNorm.momentum)
        factor = scale * jax.lax.rsqrt(var + BatchNorm.epsilon)
        return ((x.astype(jnp.float32) - mean) * factor + bias).astype(x.dtype)
