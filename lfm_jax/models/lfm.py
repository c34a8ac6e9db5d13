"""LFM: NPR residual -> backbone -> 1 x 1 projection to maps (none where `maps` is 0) -> pooling -> head, one logit an image.

In: images [B, H, W, 3] with pixel values 0..255 of any real dtype. Out: an `Output`; logit > 0 means fake.
Parts are chosen by config through `lfm_jax.models.build`; subclass or swap a part to try an idea.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from lfm_jax.errors import TooSmallError
from lfm_jax.models.layers import inside, torch_uniform
from lfm_jax.models.snet import Side, SNet
from lfm_jax.ops.conv import conv1x1
from lfm_jax.ops.npr import normalize, npr_residual
from lfm_jax.ops.pooling import attention_pool, random_k_pool, rank_dropout, rank_groups, share_of, top_k_pool

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Pool = Callable[..., tuple[jax.Array, jax.Array | None]]


@flax.struct.dataclass
class Output:
    """What one forward pass gives.

    `logits` [B] and `aux_logits` [B] (random-k, training only, else None) are float32. `values` and
    `positions` [B, M, K] are what was pooled, positions as row * W + col on `maps` [B, H', W', M];
    positions is None where the pooling mixes them.
    """

    logits: jax.Array
    maps: jax.Array
    values: jax.Array
    positions: jax.Array | None
    aux_logits: jax.Array | None = None


class AttentionPool(nn.Module):
    """maps [B, H, W, M] -> values [B, M, 1], weighted by one learned score a position; for ablations of top-k."""

    @nn.compact
    def __call__(self, maps: jax.Array, *, k: int = 1, mask: jax.Array | None = None) -> tuple[jax.Array, None]:
        fan_in = maps.shape[-1]
        return attention_pool(maps, self.param("score", torch_uniform(fan_in), (fan_in,)), k=k, mask=mask)


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

    With `k_share` that share of an image's positions is pooled, whatever its size, and averaged down to `k` groups of
    ranks, so that no weight depends on the size. With `draw` positions are drawn at random instead while training, and
    evaluated are the `k` groups of all positions, which is what the draws give on the average.

    `residual`, `rank_dropout` and `random_k` are the keyword arguments of the functions of those names;
    `random_k` None leaves the auxiliary branch out, `rank_dropout` None the dropout.
    """

    backbone: nn.Module = field(default_factory=SNet)
    pool: Pool = top_k_pool
    head: nn.Module = field(default_factory=LinearHead)
    maps: int = 64
    k: int = 16
    k_share: float = 0.0
    draw: bool = False
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
            because it would enter those statistics, and wherever keys are given.
          keys: {"rank_dropout": key, "random_k": key}. The random-k branch runs if its key is given.

        Raises:
          ValueError: an image gives fewer positions than are pooled, or a key is missing.
        """
        keys = keys or {}
        if sizes is not None and (train or keys):
            raise ValueError("padded images (sizes=...) cannot train: padding would enter the BatchNorm statistics")
        x = npr_residual(normalize(images, self.mean, self.std), **self.residual)
        x = self.backbone(x, train=train, sizes=None if sizes is None else self._blocks(sizes))
        maps = self._project(x) if self.maps else x.astype(jnp.float32)
        mask = None if sizes is None else self.valid_positions(sizes, maps.shape[1:3])
        values, positions = self._drawn(maps, keys.get("random_k")) if train and self.draw else self.pooled(maps, mask)
        kept = values
        if train and self.rank_dropout is not None:
            kept = rank_dropout(values, **self.rank_dropout, key=keys.get("rank_dropout"))
        aux = None
        if self.random_k is not None and "random_k" in keys:
            aux = self.head(self._drawn(maps, keys["random_k"], **self.random_k)[0])
        return Output(self.head(kept), maps, values, positions, aux)

    def _project(self, x: jax.Array) -> jax.Array:
        kernel = self.param("project", torch_uniform(x.shape[-1]), (x.shape[-1], self.maps))
        return conv1x1(x, kernel.astype(x.dtype))

    def read_out(self, maps: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """maps [B, H', W', M], mask [B, H', W'] of positions that count -> logits [B], as in evaluation."""
        return self.head(self.pooled(maps, mask)[0])

    def pooled(self, maps: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
        """As `read_out` -> values [B, M, K] and their positions."""
        share = 1.0 if self.draw else self.k_share
        return self.pool(maps, k=self.k, mask=mask) if not share else self._grouped(self.pool, maps, mask, share)

    def _drawn(self, maps: jax.Array, key: jax.Array | None, **order: Any) -> tuple[jax.Array, jax.Array | None]:
        pool: Pool = functools.partial(random_k_pool, key=key, **order)
        return pool(maps, k=self.k) if not self.k_share else self._grouped(pool, maps, None, self.k_share)

    def _grouped(self, pool: Pool, maps: jax.Array, mask: jax.Array | None, share: float) -> tuple[jax.Array, None]:
        positions = maps.shape[1] * maps.shape[2]
        values, _ = pool(maps, k=int(share_of(positions, share)), mask=mask)
        counts = np.array([positions]) if mask is None else mask.sum((1, 2))
        return rank_groups(values, share_of(counts, share), k=self.k), None

    def valid_positions(self, sizes: jax.Array, map_shape: tuple[int, ...]) -> jax.Array:
        """sizes [B, 2] px -> mask [B, H', W'], True where the map sees the image and no padding."""
        return inside(self.map_side(jnp.asarray(sizes)), map_shape)

    def map_side(self, side: Side) -> Side:
        """Image side in px -> side of its map; what fills no block of the residual is left out."""
        return self.backbone.map_side(self._blocks(side))

    def _blocks(self, side: Side) -> Side:
        """px of a side -> those of them that the residual keeps."""
        return side - side % self.residual.get("factor", 2)

    def positions(self, height: int, width: int) -> int:
        """Number of map positions of an image of height x width px; at least `fewest` are needed."""
        return max(self.map_side(height), 0) * max(self.map_side(width), 0)

    def seen(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Map position -> (x0, y0, x1, y1) that holds every pixel it is made from, x1 and y1 excluded; beyond the edge, too."""
        stride, side, factor = self.backbone.stride, self.backbone.window, self.residual.get("factor", 2)
        ends = []
        for place, anchor in zip((row, column), self.residual.get("anchor", (0, 0)), strict=True):
            start = stride * place - self.backbone.before
            window = start, start + side - 1
            blocks = [pixel // factor * factor + anchor for pixel in window if self.residual.get("kind") != "none"]
            ends.append((min(*window, *blocks), max(*window, *blocks) + 1))
        (y0, y1), (x0, x1) = ends
        return x0, y0, x1, y1

    @property
    def fewest(self) -> int:
        """Positions that an image has to have."""
        return 1 if self.k_share else self.k

    @property
    def smallest_side(self) -> int:
        """px of the smallest square that gives enough positions."""
        return next(n for n in range(2, 1 << 16, 2) if self.positions(n, n) >= self.fewest)

    def require_size(self, height: int, width: int) -> None:
        """Raises TooSmallError, with the numbers, for an image that the network cannot take."""
        positions = self.positions(height, width)
        if positions < self.fewest:
            raise TooSmallError(
                f"{width} x {height} px is too small: it gives {positions} map positions and the network pools "
                f"{self.fewest}; {self.smallest_side} x {self.smallest_side} px is the smallest square it can take"
            )
