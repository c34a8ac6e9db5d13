"""Local focus: Top-K pooling and its two regularisers, Rank-Based Linear Dropout and Random-K Sampling; others to ablate it.

In: maps [B, H, W, M], one evidence map per channel, and (for the stochastic ones) an explicit key.
Out: K values per map [B, M, K], and for the poolings the flat positions row * W + col they came from.
Source: LFM (BMVC 2025), SPEC of the released code where the paper is silent. Pure functions, jax only.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lfm_jax.ops.top_k import top_k

Pooled = tuple[jax.Array, jax.Array]


def top_k_pool(maps: jax.Array, *, k: int, mask: jax.Array | None = None) -> Pooled:
    """maps [B, H, W, M] -> values [B, M, K] in descending order, positions [B, M, K] int32.

    Equal values are taken in position order. With `mask` [B, H, W] only positions where it is True are
    pooled, so a padded image pools like the image alone; an image with fewer than K of them gets -inf,
    never a value of the padding. Gradients reach exactly the selected positions.

    Raises:
      ValueError: `k` is below 1 or above H * W, or `mask` does not fit.
    """
    return top_k(_rows(maps, k, mask), k)


def random_k_pool(
    maps: jax.Array,
    *,
    k: int,
    order: Literal["descending", "ascending"] = "descending",
    mask: jax.Array | None = None,
    key: jax.Array | None = None,
) -> Pooled:
    """maps [B, H, W, M] -> values [B, M, K], positions [B, M, K]: K uniform draws without replacement.

    Each image and map has its own draw; its values are sorted so that rank r meets the head's rank-r
    weight. The draw for (image b, map m) depends on the key and on b and m alone, not on how the batch
    is sharded.

    Raises:
      ValueError: `key` is missing, `k` does not fit, or `order` is unknown.
    """
    key = _require_key(key, "random_k_pool")
    rows = _rows(maps, k, mask)
    # The K largest of i.i.d. uniforms are a uniform K-subset. 23-bit ties (chance 3 % a map of 900) go to
    # the lower position; that shifts an inclusion probability by less than 1e-6.
    draws = jax.random.uniform(key, rows.shape)
    if mask is not None:
        draws = jnp.where(jnp.isneginf(rows), -1.0, draws)
    _, positions = top_k(draws, k)
    values = jnp.take_along_axis(rows, positions, axis=-1)
    by_rank = jnp.argsort(values, axis=-1, descending=_descending(order), stable=True)
    return jnp.take_along_axis(values, by_rank, axis=-1), jnp.take_along_axis(positions, by_rank, axis=-1)


def mean_pool(maps: jax.Array, *, k: int = 1, mask: jax.Array | None = None) -> tuple[jax.Array, None]:
    """maps [B, H, W, M] -> values [B, M, 1], the mean over the (valid) positions; for ablations of top-k.

    It has no positions. `k` is there for a common signature and must be 1.
    """
    if k != 1:
        raise ValueError(f"mean pooling gives one value per map: set k to 1, got {k}")
    rows = _rows(maps, k, mask)
    return rows.mean(-1, where=~jnp.isneginf(rows), keepdims=True), None


def attention_pool(maps: jax.Array, score: jax.Array, *, k: int = 1, mask: jax.Array | None = None) -> tuple[jax.Array, None]:
    """maps [B, H, W, M], score [M] -> values [B, M, 1]: the mean over the (valid) positions, weighted by softmax(maps @ score).

    All maps of an image share the weights. It has no positions; `k` as in `mean_pool`.
    """
    if k != 1:
        raise ValueError(f"attention pooling gives one value per map: set k to 1, got {k}")
    rows = _rows(maps, k, mask)
    valid = ~jnp.isneginf(rows[:, 0])
    scores = jnp.matmul(maps, score, precision=jax.lax.Precision.HIGHEST).reshape(valid.shape)
    weights = jax.nn.softmax(jnp.where(valid, scores, -jnp.inf), axis=-1)
    return jnp.where(valid[:, None], rows * weights[:, None], 0).sum(-1, keepdims=True), None


def share_of(positions: int | np.ndarray | jax.Array, share: float) -> np.ndarray | jax.Array:
    """How many are that share of so many positions: rounded, one at least. Arrays are counted as a single number is."""
    counted = jnp.asarray(positions) if isinstance(positions, jax.Array) else np.asarray(positions)
    # One float32 product: the same on the host and on every device, whatever a compiler would make of a sum beside it.
    return (counted.astype(np.float32) * np.float32(share)).round().astype(np.int32).clip(1)


def rank_groups(values: jax.Array, counts: np.ndarray | jax.Array, *, k: int) -> jax.Array:
    """values [B, M, N] in order, counts [B] (or [1], for all) of them that count -> [B, M, K]: their means in K groups of ranks.

    The groups are equal parts of counts[b] ranks; a rank across a border belongs to both by its parts. So any number of
    values meets the same K weights of a head: K values are themselves, fewer are repeated.
    """
    ranks, groups, counts = jnp.arange(values.shape[-1])[:, None], jnp.arange(k), jnp.asarray(counts)[:, None, None]
    # In units of 1 / K of a rank, in which all borders are whole numbers.
    common = jnp.minimum((ranks + 1) * k, (groups + 1) * counts) - jnp.maximum(ranks * k, groups * counts)
    shares = common.clip(0) / counts.astype(jnp.float32)
    counted = jnp.where((ranks < counts)[:, None, :, 0], values, 0)
    return jnp.matmul(counted, shares, precision=jax.lax.Precision.HIGHEST)


def rank_dropout_rates(k: int, *, p_min: float, p_max: float, drop_most: Literal["largest", "smallest"] = "largest") -> jax.Array:
    """-> drop probability per rank [K], linear between p_min and p_max; rank 0 is the largest value.

    release: the released line evaluates linspace(p_min, p_min), a constant; pass p_max = p_min for it.
    paper: which end is dropped most is not certain, hence `drop_most`.
    """
    if not 0.0 <= p_min <= p_max < 1.0:
        raise ValueError(f"rank dropout needs 0 <= p_min <= p_max < 1, got p_min={p_min}, p_max={p_max}")
    if drop_most not in ("largest", "smallest"):
        raise ValueError(f"unknown drop_most {drop_most!r}: expected 'largest' or 'smallest'")
    ends = (p_max, p_min) if drop_most == "largest" else (p_min, p_max)
    return jnp.linspace(*ends, k)


def rank_dropout(
    values: jax.Array,
    *,
    p_min: float,
    p_max: float,
    drop_most: Literal["largest", "smallest"] = "largest",
    key: jax.Array | None = None,
) -> jax.Array:
    """values [B, M, K], descending -> values [B, M, K] with ranks dropped and divided by 1 - mean(p).

    The rescale uses the mean over ranks, as released: the expectation of a sum over ranks of equal values
    is preserved, each rank's own is not.

    Raises:
      ValueError: `key` is missing or the probabilities are out of range.
    """
    key = _require_key(key, "rank_dropout")
    rates = rank_dropout_rates(values.shape[-1], p_min=p_min, p_max=p_max, drop_most=drop_most)
    kept = jax.random.uniform(key, values.shape) >= rates
    return jnp.where(kept, values / (1.0 - rates.mean()), 0).astype(values.dtype)


def _rows(maps: jax.Array, k: int, mask: jax.Array | None) -> jax.Array:
    """maps [B, H, W, M] -> [B, M, H * W], padding at -inf."""
    batch, height, width, channels = maps.shape
    if not 1 <= k <= height * width:
        raise ValueError(f"k = {k} values cannot be pooled from a {height} x {width} map of {height * width} positions")
    if mask is not None:
        if mask.shape != (batch, height, width):
            raise ValueError(f"mask {mask.shape} does not fit maps {maps.shape}: expected {maps.shape[:3]}")
        maps = jnp.where(mask[..., None], maps, -jnp.inf)
    return maps.reshape(batch, height * width, channels).swapaxes(1, 2)


def _descending(order: str) -> bool:
    if order not in ("descending", "ascending"):
        raise ValueError(f"unknown order {order!r}: expected 'descending' or 'ascending'")
    return order == "descending"


def _require_key(key: jax.Array | None, name: str) -> jax.Array:
    if key is None:
        raise ValueError(f"{name} is random: pass key=jax.random.key(...), one key for each use")
    return key
