"""The stem: NPR residual, first convolution and 2 x 2 max-pooling from uint8 pixels, in the form that is fastest on each platform.

The unpooled result of the first convolution is the largest array of the network, while the residuals before it are small whole
numbers. So in bfloat16 each window of 2 x 2 sums is computed as a whole (`ops.windows`), and its largest sum taken before
anything is written. Residuals of levels 0 to 255 are exact in bfloat16; the scale of the residual and 1 / (255 std) lie in the
weights.

On a TPU, in scoring, this is one matrix product, which the compiler fuses with the maximum. XLA has no such form for others. So
on a CPU it is a product for one image after another (`ops.stem_products`), on NVIDIA's GPUs a kernel (`ops.stem_kernels`), and
both have a second one for the gradient, which `ops.stem_block` makes a block for training of. Elsewhere, and where a condition
does not hold, the steps are taken one after another.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lfm_jax.ops import block, stem_kernels, stem_products
from lfm_jax.ops.conv import conv_pool_relu
from lfm_jax.ops.norm import Normed
from lfm_jax.ops.npr import Residual, crop_to_blocks, residual_of_pixels
from lfm_jax.ops.stem_block import Form, in_one
from lfm_jax.ops.windows import in_windows, window_values, window_weights

MOST_VALUES = 1 << 31  # of an array that a kernel can index


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["images"], meta_fields=["mean", "std", "residual", "dtype", "kernels"]
)
@dataclass(frozen=True)
class Pixels:
    """Images whose residuals are still to be taken, for a first block that takes them itself.

    Args:
      images: [B, H, W, 3] with values 0..255.
      mean, std, residual, dtype: as `residual_of_pixels` takes them.
      kernels: whether `ops.stem_kernels` may be used, on a GPU that can.
    """

    images: jax.Array
    mean: Sequence[float]
    std: Sequence[float]
    residual: Residual
    dtype: Any
    kernels: bool = True

    def residuals(self) -> jax.Array:
        """What a backbone is given: [B, H', W', 3]."""
        return residual_of_pixels(self.images, mean=self.mean, std=self.std, residual=self.residual, dtype=self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the residuals."""
        batch, height, width, channels = self.images.shape
        factor = self.residual.factor
        return batch, height // factor * factor, width // factor * factor, channels

    @property
    def in_windows(self) -> bool:
        """Whether windows can be computed as a whole: LFM's residual, or NPR's, of uint8 images in bfloat16."""
        usual = self.residual.kind != "none" and self.residual.factor == 2 and self.residual.anchor == (0, 0)
        return usual and self.images.dtype == jnp.uint8 and self.dtype == jnp.bfloat16 and min(self.images.shape[1:3]) >= 4

    def fit_kernels(self, outputs: int) -> bool:
        """Whether the kernels can be used where the program is for an NVIDIA GPU."""
        if not (self.kernels and self.in_windows and outputs in (16, 32, 64, 128)):
            return False
        return self.images.size // 12 * outputs < MOST_VALUES and _has_matrix_units() and stem_kernels.can_be_lowered()

    def levels(self, kernel: jax.Array) -> jax.Array:
        """kernel [2, 2, 3, O] for residuals of whole levels, in float32."""
        return kernel.astype(jnp.float32) * (self.residual.scale / (255 * jnp.float32(self.std)))[:, None]


def conv_relu_pool(pixels: Pixels, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """`conv_pool_relu` of the residuals with kernel [2, 2, 3, O] and bias [O]: [B, h, w, O]. For scoring."""

    def plain(images: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return conv_pool_relu(replace(pixels, images=images).residuals(), kernel, bias)

    if not pixels.in_windows:
        return plain(pixels.images, kernel, bias)

    def weights_of(kernel: jax.Array) -> jax.Array:
        return window_weights(pixels.levels(kernel)).astype(pixels.dtype)

    def on_tpu(images: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return in_windows(window_values(images, pixels.residual, pixels.dtype), weights_of(kernel)[:, :-1], bias)

    def pooled_by(form: Callable[..., jax.Array], images: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        norm = jnp.zeros_like(bias, jnp.float32), jnp.ones_like(bias, jnp.float32), bias.astype(jnp.float32)
        return form(crop_to_blocks(images), weights_of(kernel), *norm, signed=pixels.residual.kind == "signed")

    cpu = functools.partial(pooled_by, stem_products.pooled)
    cuda = functools.partial(pooled_by, stem_kernels.pooled) if pixels.fit_kernels(kernel.shape[-1]) else plain
    return lax.platform_dependent(pixels.images, kernel, bias, cpu=cpu, cuda=cuda, tpu=on_tpu, default=plain)


def conv_norm_relu_pool(
    pixels: Pixels, kernel: jax.Array, scale: jax.Array, bias: jax.Array, shift: jax.Array, epsilon: float
) -> Normed:
    """`ops.block.conv_norm_relu_pool` of the residuals with kernel [2, 2, 3, O], pooled. For training."""

    def plain(images: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, shift: jax.Array) -> Normed:
        residuals = replace(pixels, images=images).residuals()
        return block.conv_norm_relu_pool(residuals, kernel.astype(pixels.dtype), scale, bias, shift, epsilon, True)

    args = pixels.images, kernel, scale, bias, shift
    if not pixels.in_windows:
        return plain(*args)

    def by(form: Form, images: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, _shift: jax.Array) -> Normed:
        return in_one(crop_to_blocks(images), pixels.levels(kernel), scale, bias, epsilon, pixels.residual, pixels.dtype, form)

    cuda = functools.partial(by, "kernels") if pixels.fit_kernels(kernel.shape[-1]) else plain
    return lax.platform_dependent(*args, cpu=functools.partial(by, "products"), cuda=cuda, default=plain)


def _has_matrix_units() -> bool:
    """Whether the GPU here multiplies in bfloat16. Where there is none, a program is compiled ahead, for one that does."""
    device = jax.local_devices()[0]
    generation = str(getattr(device, "compute_capability", "")).partition(".")[0]
    return device.platform != "gpu" or (generation.isdecimal() and int(generation) >= 8)
