"""SNet: four 2 x 2 convolution blocks that see one window of 23 x 23 px per map position, 8 px apart.

Its input is NPR residuals [B, H, W, 3], its output activations [B, f(H), f(W), widths[-1]].
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lfm_jax.models.layers import ConvNormReluPool
from lfm_jax.ops.stem import Pixels

Side = TypeVar("Side", int, jax.Array)
DEFAULT_WIDTHS = (64, 128, 256, 512)


class SNet(nn.Module):
    """One block per width; a 2 x 2 max-pooling follows every block but the last."""

    widths: Sequence[int] = DEFAULT_WIDTHS
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array | Pixels, *, train: bool = False, sizes: jax.Array | None = None) -> jax.Array:
        """Residuals x [B, H, W, 3], or pixels whose residuals the first block takes -> activations [B, f(H), f(W), widths[-1]].

        `sizes` makes no difference: every block looks right and down only, so no valid position sees the padding.
        """
        block = nn.remat(ConvNormReluPool, static_argnums=(2,)) if self.remat else ConvNormReluPool  # argument 2 is `train`
        activations: Any = x
        for index, width in enumerate(self.widths, start=1):
            activations = block(width, self.dtype, index < len(self.widths), name=f"block{index}")(activations, train)
        return activations

    def map_side(self, side: Side) -> Side:
        """The side f(n) of the map of an image of n px; an odd n counts as n - 1, and zero or less means too small."""
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
    takes_pixels = True  # in training, where their residuals need not be in memory
