"""ResNet trunks: the stages of ResNet-50, either the first two behind a 3 x 3 stem (NPR) or all four behind a 7 x 7 stem.

Their input is residuals or plain pixels [B, H, W, 3]. Every layer is zero-padded. So where an image is itself padded at its
right and bottom, that padding is set to zero again before each operation that looks at neighbours: the operation then sees
what it would see around the image alone.
"""

from collections.abc import Sequence
from typing import TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lfm_jax.models.layers import ConvNorm, inside
from lfm_jax.ops.conv import max_pool3x3

Side = TypeVar("Side", int, jax.Array)
BLOCKS = (3, 4, 6, 3)  # per stage
EXPANSION = 4  # a block returns this many times its width in channels


class Bottleneck(nn.Module):
    """Convolutions 1 x 1, 3 x 3 (with the stride) and 1 x 1, then x is added: [B, H, W, C] -> [B, H', W', 4 * width]."""

    width: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, sides: jax.Array | None, train: bool) -> jax.Array:
        """`sides` [B, 2]: true height and width of x where it is padded, else None."""
        wide = EXPANSION * self.width
        y = nn.relu(ConvNorm(self.width, 1, dtype=self.dtype, name="conv1")(x, train))
        y = nn.relu(ConvNorm(self.width, 3, self.stride, self.dtype, name="conv2")(_within(y, sides), train))
        y = ConvNorm(wide, 1, dtype=self.dtype, name="conv3")(y, train)
        if self.stride > 1 or x.shape[-1] != wide:
            x = ConvNorm(wide, 1, self.stride, self.dtype, name="downsample")(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """One stage per width behind a first kernel of side `stem`: x [B, H, W, 3] -> [B, g(H), g(W), 4 * widths[-1]]."""

    widths: Sequence[int]
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    stem: int = 7

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False, sizes: jax.Array | None = None) -> jax.Array:
        """`sizes` [B, 2]: true (height, width) in px of images that are padded at their right and bottom."""
        sides = None if sizes is None else sizes - sizes % 2
        block = nn.remat(Bottleneck, static_argnums=(3,)) if self.remat else Bottleneck  # argument 3 is `train`
        x = nn.relu(ConvNorm(self.widths[0], self.stem, 2, self.dtype, name="stem")(_within(x, sides), train))
        sides = _halved(sides)
        x = max_pool3x3(_within(x, sides))  # after ReLU, zeros never exceed a maximum
        sides = _halved(sides)
        for stage, (width, blocks) in enumerate(zip(self.widths, BLOCKS, strict=False), start=1):
            for number in range(1, blocks + 1):
                stride = 2 if stage > 1 and number == 1 else 1
                x = block(width, stride, self.dtype, name=f"stage{stage}_block{number}")(x, sides, train)
                sides = _halved(sides) if stride == 2 else sides
        return x

    def map_side(self, side: Side) -> Side:
        """The side g(n) of the map of an image of n px; an odd n counts as n - 1."""
        side = side - side % 2
        for _ in range(len(self.widths) + 1):
            side = (side + 1) // 2
        return side

    @property
    def stride(self) -> int:
        """px from one map position to the next."""
        return 2 ** (len(self.widths) + 1)

    @property
    def window(self) -> int:
        """Side in px of the square that one map position sees, even where it reaches outside the image.

        That of position (r, c) begins at stride * (r, c) - before.
        """
        return self.before + self._reach + 1

    @property
    def before(self) -> int:
        """px before stride * (r, c); even, because the residual ties a pixel to the top-left one of its 2 x 2 block."""
        return self._reach + self._reach % 2

    @property
    def _reach(self) -> int:
        """px that position p sees to either side of stride * p."""
        reach, step = self.stem // 2 + 2, 4
        for stage, blocks in enumerate(BLOCKS[: len(self.widths)]):
            reach += step
            step *= 2 if stage else 1
            reach += (blocks - 1) * step
        return reach


def _within(x: jax.Array, sides: jax.Array | None) -> jax.Array:
    """x [B, H, W, C] with zeros beyond the true sides [B, 2]."""
    return x if sides is None else jnp.where(inside(sides, x.shape[1:3])[..., None], x, 0)


def _halved(sides: jax.Array | None) -> jax.Array | None:
    return None if sides is None else (sides + 1) // 2
