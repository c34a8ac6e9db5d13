"""Layers that follow PyTorch's conventions for initial weights and for BatchNorm's running averages.

Flax's own BatchNorm keeps the biased variance in its running average and has no counter, so it can reproduce neither the
released training run nor the released file.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lfm_jax.ops import stem
from lfm_jax.ops.block import conv_norm_relu_pool
from lfm_jax.ops.conv import conv2x2, max_pool2x2, padded_conv
from lfm_jax.ops.norm import statistics
from lfm_jax.ops.stem import Pixels

Initializer = Callable[..., jax.Array]

MOMENTUM = 0.1  # PyTorch's defaults for BatchNorm: by how much a batch moves the running averages,
EPSILON = 1e-5  # and what is added to a variance


def torch_uniform(fan_in: int) -> Initializer:
    """PyTorch's default for convolutional and linear layers, weights and biases alike: uniform in +-1 / sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # torchvision's for the convolutions of ResNets


def inside(sides: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Mask [B, H, W] of the positions that lie within `sides` [B, 2], (height, width), on a grid of `shape` (H, W)."""
    rows, columns = (jnp.arange(length) < sides[:, axis, None] for axis, length in enumerate(shape))
    return rows[:, :, None] & columns[:, None, :]


class RunningAverages:
    """BatchNorm's mean, variance and batch counter for evaluation, as variables of the Flax module that makes them."""

    def __init__(self, module: nn.Module, width: int):
        self.mean = module.variable("batch_stats", "mean", jnp.zeros, (width,))
        self.var = module.variable("batch_stats", "var", jnp.ones, (width,))
        self.count = module.variable("batch_stats", "count", jnp.zeros, (), jnp.int32)  # PyTorch's num_batches_tracked
        self._fixed = module.is_initializing()

    def move(self, mean: jax.Array, var: jax.Array, *, samples: int) -> None:
        """Moves the averages towards a batch's mean and its unbiased variance, given its biased variance and sample count."""
        if self._fixed:
            return
        unbiased = var * (samples / max(samples - 1, 1))
        self.mean.value += MOMENTUM * (mean - self.mean.value)
        self.var.value += MOMENTUM * (unbiased - self.var.value)
        self.count.value += 1


class NormVariables(nn.Module):
    """The variables of one BatchNorm under a name of their own: `scale`, `bias` and the running averages, each [width]."""

    width: int

    def setup(self) -> None:
        self.scale = self.param("scale", nn.initializers.ones, (self.width,))
        self.bias = self.param("bias", nn.initializers.zeros, (self.width,))
        self.running = RunningAverages(self, self.width)


class ConvNormReluPool(nn.Module):
    """A block of SNet: 2 x 2 convolution -> BatchNorm -> ReLU, then 2 x 2 max-pooling if `pool`.

    x [B, H, W, C], or the residuals of `Pixels`, becomes [B, H - 1, W - 1, width], or half of that height and width with
    `pool`. In training all of it is a single operation (`ops.block`, and `ops.stem` for pixels): the batch's mean and biased
    variance normalise, and the running averages move towards the mean and the *unbiased* variance, as in PyTorch. Statistics
    are over every axis but the last and float32, whatever `dtype` the activations have. In evaluation the activations before
    pooling are sown as "activations".
    """

    width: int
    dtype: jnp.dtype = jnp.float32
    pool: bool = True

    @nn.compact
    def __call__(self, x: jax.Array | Pixels, train: bool) -> jax.Array:
        fan_in = 4 * x.shape[-1]
        kernel = self.param("kernel", torch_uniform(fan_in), (2, 2, x.shape[-1], self.width))
        conv_bias = self.param("bias", torch_uniform(fan_in), (self.width,))
        norm = NormVariables(self.width, name="norm")
        if isinstance(x, Pixels) and not (train and self.pool):
            x = x.residuals()
        if not isinstance(x, Pixels):
            x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if not train:
            mean, factor = norm.running.mean.value, norm.scale * jax.lax.rsqrt(norm.running.var.value + EPSILON)
            shifted = (conv2x2(x, kernel) + conv_bias.astype(x.dtype)).astype(jnp.float32)
            activations = nn.relu((shifted - mean) * factor + norm.bias).astype(x.dtype)
            norm.sow("intermediates", "activations", activations)
            return max_pool2x2(activations) if self.pool else activations
        # Subtracting the batch's mean cancels the convolution's bias, so only the running mean includes it and it gets no
        # gradient. Computing one would give rounding noise, which Adam blows up to steps of the full learning rate, and
        # different ones on every number of devices.
        shift = norm.running.mean.value - conv_bias
        if isinstance(x, Pixels):
            activations, mean, var = stem.conv_norm_relu_pool(x, kernel, norm.scale, norm.bias, shift, EPSILON)
        else:
            activations, mean, var = conv_norm_relu_pool(x, kernel, norm.scale, norm.bias, shift, EPSILON, self.pool)
        samples = x.shape[0] * (x.shape[1] - 1) * (x.shape[2] - 1)
        norm.running.move(mean + conv_bias, var, samples=samples)
        return activations


class ConvNorm(nn.Module):
    """A zero-padded convolution without bias, then BatchNorm: x [B, H, W, C] becomes [B, H', W', width]; see `padded_conv`.

    BatchNorm is as in `ConvNormReluPool`, computed in plain steps.
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
            running.move(mean, var, samples=x.size // self.width)
        factor = scale * jax.lax.rsqrt(var + EPSILON)
        return ((x.astype(jnp.float32) - mean) * factor + bias).astype(x.dtype)
