"""LFM: NPR residual -> backbone -> 1 x 1 projection to maps -> pooling -> head, one logit an image.

In: images [B, H, W, 3] with pixel values 0..255 of any real dtype. Out: an `Output`; logit > 0 means fake.
Parts are chosen by config through `lfm_jax.models.build`; subclass or swap a part to try an idea.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from lfm_jax.errors import TooSmallError
from lfm_jax.models.layers import torch_uniform
from lfm_jax.models.snet import SNet
from lfm_jax.ops.conv import conv1x1
from lfm_jax.ops.npr import normalize, npr_residual
from lfm_jax.ops.pooling import random_k_pool, rank_dropout, top_k_pool

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Pool = Callable[..., tuple[jax.Array, jax.Array | None]]


@flax.struct.dataclass
class Output:
    """What one forward pass gives.

    `logits` [B] and `aux_logits` [B] (random-k, training only, else None) are float32. `values` and
    `positions` [B, M, K] are what was pooled, positions as row * W + col on `maps` [B, H', W', M];
    positions is None where the pooling mixes all of them.
    """

    logits: jax.Array
    maps: jax.Array
    values: jax.Array
    positions: jax.Array | None
    aux_logits: jax.Array | None = None


class LinearHead(nn.Module):
    """values [B, M, K] -> logits [B]: one weight per (map, rank), flattened map-major."""

    @nn.compact
    def __call__(self, values: jax.Array) -> jax.Array:
        flat = values.reshape(values.shape[0], -1).astype(jnp.float32)
        fan_in = flat.shape[-1]
        kernel = self.param("kernel", torch_uniform(fan_in), (fan_in, 1))
        bias = self.param("bias", torch_uniform(fan_in), (1,))
        return conv1x1(flat, kernel)[:, 0] + bias[0]


class MlpHead(nn.Module):
    """values [B, M, K] -> logits [B] through one hidden ReLU layer; for ablations of the linear read-out."""

    hidden: int = 64

    @nn.compact
    def __call__(self, values: jax.Array) -> jax.Array:
        flat = values.reshape(values.shape[0], -1).astype(jnp.float32)
        fan_in = flat.shape[-1]
        kernel = self.param("kernel", torch_uniform(fan_in), (fan_in, self.hidden))
        bias = self.param("bias", torch_uniform(fan_in), (self.hidden,))
        return LinearHead(name="out")(nn.relu(conv1x1(flat, kernel) + bias)[:, None])


class Lfm(nn.Module):
    """The detector. `pool(maps [B, H, W, M], *, k, mask)` returns values [B, M, K] and their positions [B, M, K], or None where it
    mixes positions; see `ops.pooling`. Of padded images only what `mask` [B, H, W] has True may count.

    `residual`, `rank_dropout` and `random_k` are the keyword arguments of the functions of those names;
    `random_k` None leaves the auxiliary branch out, `rank_dropout` None the dropout.
    """

    backbone: nn.Module = field(default_factory=SNet)
    pool: Pool = top_k_pool
    head: nn.Module = field(default_factory=LinearHead)
    maps: int = 64
    k: int = 16
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    residual: FrozenDict[str, Any] = FrozenDict()
    rank_dropout: FrozenDict[str, Any] | None = None
    random_k: FrozenDict[str, Any] | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        sizes: jax.Array | None = None,
        train: bool = False,
        keys: Mapping[str, jax.Array] | None = None,
    ) -> Output:
        """images [B, H, W, 3] in 0..255 -> Output with logits [B].

        Args:
          sizes: true (height, width) [B, 2] int32 of images padded at their right and bottom; every image
            then gives its own logit, the padding none. None: no padding.
          train: BatchNorm uses the batch's statistics, and rank dropout is on. Padding is refused here,
            because it would enter those statistics.
          keys: {"rank_dropout": key, "random_k": key}. The random-k branch runs if its key is given.

        Raises:
          ValueError: an image gives fewer positions than are pooled, or a key is missing.
        """
        if train and sizes is not None:
            raise ValueError("padded images (sizes=...) cannot train: padding would enter the BatchNorm statistics")
        keys = keys or {}
        x = npr_residual(normalize(images, self.mean, self.std), **self.residual)
        x = self.backbone(x, train=train)
        kernel = self.param("project", torch_uniform(x.shape[-1]), (x.shape[-1], self.maps))
        maps = conv1x1(x, kernel.astype(x.dtype))
        mask = None if sizes is None else self.valid_positions(sizes, maps.shape[1:3])
        values, positions = self.pool(maps, k=self.k, mask=mask)
        kept = values
        if train and self.rank_dropout is not None:
            kept = rank_dropout(values, **self.rank_dropout, key=keys.get("rank_dropout"))
        aux = None
        if self.random_k is not None and "random_k" in keys:
            drawn, _ = random_k_pool(maps, k=self.k, **self.random_k, mask=mask, key=keys["random_k"])
            aux = self.head(drawn)
        return Output(self.head(kept), maps, values, positions, aux)

    def valid_positions(self, sizes: jax.Array, map_shape: tuple[int, ...]) -> jax.Array:
        """sizes [B, 2] px -> mask [B, H', W'], True where the map sees the image and no padding."""
        sides = self.backbone.map_side(jnp.asarray(sizes))
        rows = jnp.arange(map_shape[0]) < sides[:, :1]
        cols = jnp.arange(map_shape[1]) < sides[:, 1:]
        return rows[:, :, None] & cols[:, None, :]

    def positions(self, height: int, width: int) -> int:
        """Number of map positions of an image of height x width px; at least `k` are needed."""
        return max(self.backbone.map_side(height), 0) * max(self.backbone.map_side(width), 0)

    @property
    def smallest_side(self) -> int:
        """px of the smallest square that gives enough positions."""
        return next(n for n in range(2, 1 << 16, 2) if self.positions(n, n) >= self.k)

    def require_size(self, height: int, width: int) -> None:
        """Raises TooSmallError, with the numbers, for an image that the network cannot take."""
        positions = self.positions(height, width)
        if positions < self.k:
            raise TooSmallError(
                f"{width} x {height} px is too small: it gives {positions} map positions and the network pools "
                f"{self.k}; {self.smallest_side} x {self.smallest_side} px is the smallest square it can take"
            )
