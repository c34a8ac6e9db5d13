"""LFM: NPR residual -> backbone -> 1 x 1 projection to evidence maps -> pooling -> head, one logit per image.

`lfm_jax.models.build` chooses the parts by config; docs/extending.md shows how to add your own.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import field

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from lfm_jax.errors import TooSmallError
from lfm_jax.models.heads import LinearHead
from lfm_jax.models.layers import inside, torch_uniform
from lfm_jax.models.pooling import Pool, Pooling
from lfm_jax.models.snet import Side, SNet
from lfm_jax.ops.conv import conv1x1
from lfm_jax.ops.npr import Residual
from lfm_jax.ops.pooling import RandomK, RankDropout, random_k_pool, rank_dropout, top_k_pool
from lfm_jax.ops.pooling_variants import share_pool
from lfm_jax.ops.stem import Pixels

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@flax.struct.dataclass
class Output:
    """What one forward pass returns.

    `logits` [B] and `aux_logits` [B] (of random-k, in training only, else None) are float32. `values` and `positions`
    [B, M, K] are what was pooled, a position being row * W' + col on `maps` [B, H', W', M]; `positions` is None where the
    pooling mixes them.
    """

    logits: jax.Array
    maps: jax.Array
    values: jax.Array
    positions: jax.Array | None
    aux_logits: jax.Array | None = None


class Lfm(nn.Module):
    """The detector; a logit above 0 means fake.

    Its default size has 725,569 parameters. The released PyTorch file counts 725,641, because it also holds the 72 weights
    of the two fixed kernels that make the NPR residual there (`weights.layouts.frozen_kernels`); here the residual is
    arithmetic and has none.

    Attributes:
      backbone: a Flax module that turns residuals into activations and tells `map_side`, `stride`, `window` and `before`.
      pooling: how each map is pooled.
      head: a Flax module that turns values [B, M, K] into logits [B] and tells whether it is `linear`.
      maps: evidence maps M after the projection; 0 leaves the projection out and pools the backbone's channels.
      mean, std: of normalisation, on RGB in 0..1.
      residual: which NPR residual the backbone is given.
      rank_dropout: in training, on the values that meet the head; None is off.
      random_k: in training, how the auxiliary branch draws its positions; None is off.
      dtype: of the activations. Parameters, statistics and logits stay float32.
      kernels: whether residual and first block may be kernels of their own on a GPU; see `ops.stem`.
    """

    backbone: nn.Module = field(default_factory=SNet)
    pooling: Pooling = Pooling(top_k_pool, k=16)
    head: nn.Module = field(default_factory=LinearHead)
    maps: int = 64
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    residual: Residual = Residual()
    rank_dropout: RankDropout | None = None
    random_k: RandomK | None = None
    dtype: jnp.dtype = jnp.float32
    kernels: bool = True

    def setup(self) -> None:
        self.pool = self.pooling.pool  # a pooling with weights keeps them under this name

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        sizes: jax.Array | None = None,
        train: bool = False,
        keys: Mapping[str, jax.Array] | None = None,
    ) -> Output:
        """Scores images [B, H, W, 3] with pixel values 0..255 of any real dtype.

        Args:
          images: [B, H, W, 3].
          sizes: true (height, width) [B, 2] int32 of images that are padded at their right and bottom; every image then
            gets the logit it has alone. None where there is no padding.
          train: BatchNorm uses the batch's statistics, and rank dropout is on. Padding is refused here and wherever keys
            are given, because it would enter the statistics.
          keys: {"rank_dropout": key, "random_k": key}. The auxiliary branch runs if the second is given.

        Raises:
          ValueError: an image has fewer positions than are pooled, or a key is missing.
        """
        keys = keys or {}
        if sizes is not None and (train or keys):
            raise ValueError("padded images (sizes=...) cannot train: padding would enter the BatchNorm statistics")
        pixels = self.pixels(images)
        x = pixels if train and pixels.in_windows and getattr(self.backbone, "takes_pixels", False) else pixels.residuals()
        x = self.backbone(x, train=train, sizes=None if sizes is None else self._whole_blocks(sizes))
        maps = self._project(x) if self.maps else x.astype(jnp.float32)
        mask = None if sizes is None else self.valid_positions(sizes, maps.shape[1:3])
        if train and self.pooling.draw is not None:
            values, positions = self._drawn(maps, self.pooling.draw, keys.get("random_k"))
        else:
            values, positions = self.pooled(maps, mask)
        for_head = values
        if train and self.rank_dropout is not None:
            for_head = rank_dropout(values, dropout=self.rank_dropout, key=keys.get("rank_dropout"))
        aux = None
        if self.random_k is not None and "random_k" in keys:
            aux = self.head(self._drawn(maps, self.random_k, keys["random_k"])[0])
        return Output(self.head(for_head), maps, values, positions, aux)

    def pixels(self, images: jax.Array) -> Pixels:
        """Images [B, H, W, 3] with what is needed to take their residuals."""
        return Pixels(images, self.mean, self.std, self.residual, self.dtype, self.kernels)

    def _project(self, x: jax.Array) -> jax.Array:
        kernel = self.param("project", torch_uniform(x.shape[-1]), (x.shape[-1], self.maps))
        return conv1x1(x, kernel.astype(x.dtype))

    def read_out(self, maps: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """maps [B, H', W', M], mask [B, H', W'] of the positions that count -> logits [B], as in evaluation."""
        return self.head(self.pooled(maps, mask)[0])

    def pooled(self, maps: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
        """maps [B, H', W', M], mask [B, H', W'] -> values [B, M, K] and their positions, as in evaluation."""
        return self._pooled_by(self.pool, maps, mask, self.pooling.share)

    def _drawn(self, maps: jax.Array, draw: RandomK, key: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
        return self._pooled_by(functools.partial(random_k_pool, order=draw.order, key=key), maps, None, draw.share)

    def _pooled_by(self, pool: Pool, maps: jax.Array, mask: jax.Array | None, share: float) -> tuple[jax.Array, jax.Array | None]:
        return share_pool(pool, maps, k=self.k, share=share, mask=mask) if share else pool(maps, k=self.k, mask=mask)

    def valid_positions(self, sizes: jax.Array, map_shape: tuple[int, ...]) -> jax.Array:
        """Mask [B, H', W'], True where a position sees the image and no padding, for true sizes [B, 2] in px."""
        return inside(self.map_side(jnp.asarray(sizes)), map_shape)

    def map_side(self, side: Side) -> Side:
        """Image side in px -> side of its map; pixels that fill no block of the residual do not count."""
        return self.backbone.map_side(self._whole_blocks(side))

    def _whole_blocks(self, side: Side) -> Side:
        return side - side % self.residual.factor

    @property
    def k(self) -> int:
        """Values per map."""
        return self.pooling.k

    def positions(self, height: int, width: int) -> int:
        """Number of map positions of an image of height x width px; at least `fewest` are needed."""
        return max(self.map_side(height), 0) * max(self.map_side(width), 0)

    def seen(self, row: int, column: int) -> tuple[int, int, int, int]:
        """The box (x0, y0, x1, y1) that holds every pixel a map position is made from, x1 and y1 excluded.

        It may reach beyond the edge of the image.
        """
        stride, side, factor = self.backbone.stride, self.backbone.window, self.residual.factor
        ends = []
        for place, anchor in zip((row, column), self.residual.anchor, strict=True):
            start = stride * place - self.backbone.before
            window = start, start + side - 1
            anchors = [pixel // factor * factor + anchor for pixel in window if self.residual.kind != "none"]
            ends.append((min(*window, *anchors), max(*window, *anchors) + 1))
        (y0, y1), (x0, x1) = ends
        return x0, y0, x1, y1

    @property
    def fewest(self) -> int:
        """Map positions that an image needs."""
        return self.pooling.fewest

    @property
    def smallest_side(self) -> int:
        """Side in px of the smallest square that has enough positions."""
        return next(n for n in range(2, 1 << 16, 2) if self.positions(n, n) >= self.fewest)

    def require_size(self, height: int, width: int) -> None:
        """Raises TooSmallError, with the numbers, for an image that is too small for the network."""
        positions = self.positions(height, width)
        if positions < self.fewest:
            raise TooSmallError(
                f"{width} x {height} px is too small: it gives {positions} map positions and the network pools "
                f"{self.fewest}; {self.smallest_side} x {self.smallest_side} px is the smallest square it can take"
            )
