"""Local focus: Top-K pooling and its two regularisers, Rank-Based Linear Dropout and Random-K Sampling.

Source: LFM (BMVC 2025, arXiv 2508.17029), and its released code where the paper is silent. `maps` are [B, H, W, M], one
channel per evidence map. A pooling returns K values per map [B, M, K] and the positions they came from, row * W + col.
Other poolings, to compare these with, are in `ops.pooling_variants`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from lfm_jax.ops.top_k import top_k

Pooled = tuple[jax.Array, jax.Array]
Order = Literal["descending", "ascending"]
DropMost = Literal["largest", "smallest"]


def top_k_pool(maps: jax.Array, *, k: int, mask: jax.Array | None = None) -> Pooled:
    """The K largest values of each map, in descending order; of equal values the one at the lower position comes first.

    Gradients reach exactly the selected positions.

    Args:
      maps: [B, H, W, M].
      k: values per map.
      mask: [B, H, W], True where a position counts, so that a padded image pools like the image alone. An image with fewer
        than K such positions is filled up with -inf, never with a value of the padding.

    Returns:
      values [B, M, K] and positions [B, M, K] int32.

    Raises:
      ValueError: `k` is below 1 or above H * W, or `mask` does not fit.
    """
    return top_k(rows_of(maps, k, mask), k)


@dataclass(frozen=True)
class RandomK:
    """How positions are drawn for Random-K Sampling.

    Args:
      order: how the drawn values are sorted before they meet the head's weights.
      share: draw this share of an image's positions and average them down to K; 0 draws exactly K. See `share_of`.

    Raises:
      ValueError: unknown `order`, or `share` outside 0..1.
    """

    order: Order = "descending"
    share: float = 0.0

    def __post_init__(self) -> None:
        _require_order(self.order)
        if not 0 <= self.share <= 1:
            raise ValueError(f"share = {self.share}: expected a share in 0..1, 0 for exactly k")


def random_k_pool(
    maps: jax.Array,
    *,
    k: int,
    order: Order = "descending",
    mask: jax.Array | None = None,
    key: jax.Array | None = None,
) -> Pooled:
    """Values at K positions of each map, drawn uniformly without replacement, sorted so that rank r meets the head's rank-r weight.

    Each image and map has its own draw, which depends on the key and on the two indices alone, not on how the batch is sharded.

    Args:
      maps: [B, H, W, M].
      k: values per map.
      order: of the values, "descending" or "ascending".
      mask: [B, H, W], True where a position counts.
      key: required.

    Returns:
      values [B, M, K] and positions [B, M, K] int32.

    Raises:
      ValueError: `key` is missing, `k` does not fit, or `order` is unknown.
    """
    key, order = _require_key(key, "random_k_pool"), _require_order(order)
    rows = rows_of(maps, k, mask)
    # The K largest of i.i.d. uniforms are a uniform K-subset. Ties of 23 bits (chance 3 % per map of 900 positions) go to
    # the lower position; that shifts an inclusion probability by less than 1e-6.
    draws = jax.random.uniform(key, rows.shape)
    if mask is not None:
        draws = jnp.where(jnp.isneginf(rows), -1.0, draws)
    _, positions = top_k(draws, k)
    values = jnp.take_along_axis(rows, positions, axis=-1)
    by_rank = jnp.argsort(values, axis=-1, descending=order == "descending", stable=True)
    return jnp.take_along_axis(values, by_rank, axis=-1), jnp.take_along_axis(positions, by_rank, axis=-1)


@dataclass(frozen=True)
class RankDropout:
    """The drop probabilities of Rank-Based Linear Dropout, linear in the rank from one end to the other.

    release: the released line evaluates linspace(p_min, p_min), a constant; p_max = p_min is the same.
    paper: it is not certain which end is dropped most, hence `drop_most`.

    Raises:
      ValueError: not 0 <= p_min <= p_max < 1, or an unknown end; the message begins with the name of the field.
    """

    p_min: float = 0.1
    p_max: float = 0.3
    drop_most: DropMost = "largest"

    def __post_init__(self) -> None:
        if not 0.0 <= self.p_min <= self.p_max < 1.0:
            raise ValueError(f"p_min = {self.p_min}, p_max = {self.p_max}: expected 0 <= p_min <= p_max < 1")
        if self.drop_most not in get_args(DropMost):
            raise ValueError(f"drop_most = {self.drop_most!r}: expected one of {', '.join(get_args(DropMost))}")

    def rates(self, k: int) -> jax.Array:
        """The drop probability of each rank [K]; rank 0 is the largest value."""
        ends = (self.p_max, self.p_min) if self.drop_most == "largest" else (self.p_min, self.p_max)
        return jnp.linspace(*ends, k)


def rank_dropout(values: jax.Array, *, dropout: RankDropout = RankDropout(), key: jax.Array | None = None) -> jax.Array:
    """Drops values [B, M, K], sorted in descending order, each rank at its own rate; returns [B, M, K].

    What is kept is divided by 1 - mean(rates), as released: this preserves the expectation of a sum over ranks of equal
    values, but not that of each rank.

    Raises:
      ValueError: `key` is missing.
    """
    key = _require_key(key, "rank_dropout")
    rates = dropout.rates(values.shape[-1])
    keep = jax.random.uniform(key, values.shape) >= rates
    return jnp.where(keep, values / (1.0 - rates.mean()), 0).astype(values.dtype)


def rows_of(maps: jax.Array, k: int, mask: jax.Array | None) -> jax.Array:
    """maps [B, H, W, M] -> one row per map [B, M, H * W], -inf where `mask` [B, H, W] is False.

    Raises:
      ValueError: `k` values cannot be pooled from H * W positions, or `mask` does not fit.
    """
    batch, height, width, channels = maps.shape
    if not 1 <= k <= height * width:
        raise ValueError(f"k = {k} values cannot be pooled from a {height} x {width} map of {height * width} positions")
    if mask is not None:
        if mask.shape != (batch, height, width):
            raise ValueError(f"mask {mask.shape} does not fit maps {maps.shape}: expected {maps.shape[:3]}")
        maps = jnp.where(mask[..., None], maps, -jnp.inf)
    return maps.reshape(batch, height * width, channels).swapaxes(1, 2)


def _require_order(order: Order) -> Order:
    if order not in get_args(Order):
        raise ValueError(f"order = {order!r}: expected one of {', '.join(get_args(Order))}")
    return order


def _require_key(key: jax.Array | None, name: str) -> jax.Array:
    if key is None:
        raise ValueError(f"{name} is random: pass key=jax.random.key(...), one key for each use")
    return key
