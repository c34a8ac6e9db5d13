"""SNet: four 2 x 2 convolution blocks that look at one 23 x 23 px window per map position, stride 8.

In: NPR residuals [B, H, W, 3]. Out: activations [B, f(H), f(W), widths[-1]].
"""

from collections.abc import Sequence
from typing import TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lfm_jax.models.layers import BatchNorm, torch_uniform

Side = TypeVar("Side", int, jax.Array)
DEFAULT_WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """x [B, H, W, C] -> [B, H - 1, W - 1, width]: conv 2 x 2 -> BatchNorm -> ReLU; with `pool`, half of that: -> max-pool 2 x 2."""

    width: int
    dtype: jnp.dtype = jnp.float32
    pool: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        fan_in = 4 * x.shape[-1]
        kernel = self.param("kernel", torch_uniform(fan_in), (2, 2, x.shape[-1], self.width))
        bias = self.param("bias", torch_uniform(fan_in), (self.width,))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        return BatchNorm(name="norm")(x, kernel, bias, pool=self.pool, use_running_average=not train)


class SNet(nn.Module):
    """residuals [B, H, W, 3] -> [B, f(H), f(W), widths[-1]]; 2 x 2 max-pool after every block but the last."""

    widths: Sequence[int] = DEFAULT_WIDTHS
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False, sizes: jax.Array | None = None) -> jax.Array:
        """`sizes` make no difference: every block looks right and down only, and no valid position sees the padding."""
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block  # argument 2 is `train`
        for index, width in enumerate(self.widths, start=1):
            x = block(width, self.dtype, index < len(self.widths), name=f"block{index}")(x, train)
        return x

    def map_side(self, side: Side) -> Side:
        """Image side in px -> side of its map, f(n); an odd n counts as n - 1, zero or less is too small."""
        side = side - side % 2
        for index in range(len(self.widths)):
            side = (side - 1) // (2 if index < len(self.widths) - 1 else 1)
        return side

    @property
    def stride(self) -> int:
        """px from one map position to the next."""
        return 2 ** (len(self.widths) - 1)

    @property
    def window(self) -> int:
        """Side in px of the square that one map position sees; that of position (r, c) begins at stride * (r, c) - before."""
        return 3 * self.stride - 1

    before = 0
