"""Poolings that the paper does not have, to compare Top-K with: the mean, learned attention, and a share of all positions.

Shapes are those of `ops.pooling`: maps [B, H, W, M] in, values [B, M, K] out.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lfm_jax.ops.pooling import rows_of


def mean_pool(maps: jax.Array, *, k: int = 1, mask: jax.Array | None = None) -> tuple[jax.Array, None]:
    """The mean of each map over the positions that count: values [B, M, 1]. There are no positions to return.

    Args:
      maps: [B, H, W, M].
      k: must be 1; every pooling has this argument.
      mask: [B, H, W], True where a position counts.
    """
    rows = rows_of(maps, _require_one(k, "mean"), mask)
    return rows.mean(-1, where=~jnp.isneginf(rows), keepdims=True), None


def attention_pool(maps: jax.Array, score: jax.Array, *, k: int = 1, mask: jax.Array | None = None) -> tuple[jax.Array, None]:
    """The mean of each map weighted by softmax(maps @ score), for `score` [M]: values [B, M, 1].

    All maps of an image share the weights. Every weight depends on all positions, so there are none to return; `k` and
    `mask` are as in `mean_pool`.
    """
    rows = rows_of(maps, _require_one(k, "attention"), mask)
    valid = ~jnp.isneginf(rows[:, 0])
    scores = jnp.matmul(maps, score, precision=jax.lax.Precision.HIGHEST).reshape(valid.shape)
    weights = jax.nn.softmax(jnp.where(valid, scores, -jnp.inf), axis=-1)
    return jnp.where(valid[:, None], rows * weights[:, None], 0).sum(-1, keepdims=True), None


def share_pool(
    pool: Callable[..., tuple[jax.Array, jax.Array | None]],
    maps: jax.Array,
    *,
    k: int,
    share: float,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, None]:
    """Pools a share of an image's positions, whatever its size, and averages the values in K groups of ranks.

    So no weight of a head depends on the size of an image. Where the share is exactly K positions, this is `pool` itself.

    Args:
      pool: a pooling such as `top_k_pool`, whose values come in the order of their ranks.
      maps: [B, H, W, M].
      k: values per map that are returned.
      share: of the positions that count, above 0 and at most 1.
      mask: [B, H, W], True where a position counts.

    Returns:
      values [B, M, K]. They are means over several positions, so there are none to return.
    """
    positions = maps.shape[1] * maps.shape[2]
    values, _ = pool(maps, k=int(share_of(positions, share)), mask=mask)
    valid = np.array([positions]) if mask is None else mask.sum((1, 2))
    return rank_groups(values, share_of(valid, share), k=k), None


def share_of(positions: int | np.ndarray | jax.Array, share: float) -> np.ndarray | jax.Array:
    """How many positions that share is: rounded, and at least one. Each number of an array counts as it would alone."""
    count = jnp.asarray(positions) if isinstance(positions, jax.Array) else np.asarray(positions)
    # A single float32 product gives the same on the host and on every device; a compiler may fuse anything longer.
    return (count.astype(np.float32) * np.float32(share)).round().astype(np.int32).clip(1)


def rank_groups(values: jax.Array, counts: np.ndarray | jax.Array, *, k: int) -> jax.Array:
    """Averages sorted values [B, M, N] in K equal groups of ranks; returns [B, M, K].

    Only the first counts[b] values of an image count (counts is [B], or [1] for all images). A rank that lies across the
    border of two groups belongs to both in part. So any number of values meets the same K weights of a head: K values stay
    as they are, and fewer are repeated.
    """
    ranks, groups, counts = jnp.arange(values.shape[-1])[:, None], jnp.arange(k), jnp.asarray(counts)[:, None, None]
    # In units of 1 / K of a rank all borders are whole numbers.
    common = jnp.minimum((ranks + 1) * k, (groups + 1) * counts) - jnp.maximum(ranks * k, groups * counts)
    shares = common.clip(0) / counts.astype(jnp.float32)
    valid = jnp.where((ranks < counts)[:, None, :, 0], values, 0)
    return jnp.matmul(valid, shares, precision=jax.lax.Precision.HIGHEST)


def _require_one(k: int, name: str) -> int:
    if k != 1:
        raise ValueError(f"{name} pooling gives one value per map: set k to 1, got {k}")
    return k
