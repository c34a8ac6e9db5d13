"""`Pooling`: what a network has to know of the way its maps are pooled, whoever wrote it."""

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax

from lfm_jax.models.layers import torch_uniform
from lfm_jax.ops.pooling import RandomK
from lfm_jax.ops.pooling_variants import attention_pool

Pool = Callable[..., tuple[jax.Array, jax.Array | None]]


@dataclass(frozen=True)
class Pooling:
    """A way to pool maps, and what others have to know of it.

    Args:
      pool: pool(maps [B, H, W, M], *, k, mask) -> values [B, M, K] and the positions row * W + col [B, M, K] they came from,
        or None where values mix positions. A function such as `ops.pooling.top_k_pool`, or a Flax module where the pooling
        has weights. `mask` [B, H, W] is None or True where a position counts, so that padding never does. Two networks built
        from one config share compiled programs only if their `pool` is equal: name a function or a module, not a lambda.
      k: values per map.
      share: pool this share of an image's positions, whatever its size, averaged down to `k` groups of ranks; 0 pools
        exactly `k`. See `ops.pooling_variants.share_pool`.
      draw: draw positions at random in training instead of calling `pool`; None pools alike in training and evaluation.
      sums_positions: whether each value is a sum over single positions with weights that do not depend on the values of
        others, as where `pool` selects or averages. Only then does `lfm explain` have an answer.

    Raises:
      ValueError: `k` is below 1 or `share` outside 0..1.
    """

    pool: Pool
    k: int = 1
    share: float = 0.0
    draw: RandomK | None = None
    sums_positions: bool = True

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.share <= 1:
            raise ValueError(f"a Pooling takes k of at least 1 and a share in 0..1, got k={self.k}, share={self.share}")

    @property
    def fewest(self) -> int:
        """Map positions that an image needs."""
        any_number = self.share and (self.draw is None or self.draw.share)
        return 1 if any_number else self.k

    @property
    def has_weights(self) -> bool:
        """Whether `pool` is a Flax module. The tensors of such a pooling are not in PyTorch's key tables."""
        return isinstance(self.pool, nn.Module)


class AttentionPool(nn.Module):
    """Weights the positions of maps [B, H, W, M] by one learned score each; returns values [B, M, 1]."""

    @nn.compact
    def __call__(self, maps: jax.Array, *, k: int = 1, mask: jax.Array | None = None) -> tuple[jax.Array, None]:
        fan_in = maps.shape[-1]
        return attention_pool(maps, self.param("score", torch_uniform(fan_in), (fan_in,)), k=k, mask=mask)
