"""Where an image gave its evidence: the logit taken apart into what each position of the map added to it.

In: a Network and the pixels of one image. Out: a signed map. With a linear head and
a pooling that sums or averages single positions this is no estimate: the logit is the head's bias plus the sum of the map.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from lfm_jax.data.protocols import Box
from lfm_jax.inference.network import Network
from lfm_jax.inference.scoring import bucket
from lfm_jax.models import Lfm

T = TypeVar("T")


class Entries(NamedTuple):
    """What was pooled, by map and rank, each [M, N]: its place on the map, its value and its weight in the logit."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    weights: np.ndarray


def entries(network: Network, pixels: np.ndarray) -> Entries | None:
    """pixels uint8 [H, W, 3] -> Entries; the logit is the head's bias plus the sum of values * weights.

    N is the number of positions that a map pools, of whatever kind. None where there is no such sum: see `no_sum`.

    Raises:
      TooSmallError: the image gives fewer positions than are pooled.
    """
    model = network.model
    if no_sum(model):
        return None
    height, width = pixels.shape[:2]
    model.require_size(height, width)
    padded = np.zeros((1, bucket(height), bucket(width), 3), np.uint8)
    padded[0, :height, :width] = pixels
    logits, maps, weights = _maps_and_weights(model, network.variables, padded, np.array([[height, width]], np.int32))
    sides = model.map_side(height), model.map_side(width)
    values, weights = (
        np.asarray(array[0, : sides[0], : sides[1]], np.float64).reshape(-1, array.shape[-1]).T for array in (maps, weights)
    )
    bias = float(network.variables["params"]["head"]["bias"][0])
    if not np.isclose(bias + (values * weights).sum(), float(logits[0]), rtol=1e-4, atol=1e-3):
        return None  # a pooling of the user's own that mixes positions
    pooled = (weights != 0).sum(1).max()
    ranked = np.argsort(np.where(weights != 0, -values, np.inf), axis=1, kind="stable")[:, :pooled]
    values, weights = (np.take_along_axis(array, ranked, 1) for array in (values, weights))
    return Entries(*np.divmod(ranked, sides[1]), values, weights)


def no_sum(model: Lfm) -> str:
    """Why a logit of this network is no sum over single positions, "" where it may be one."""
    if not model.pooling.sums_positions:
        return "model.pooling.kind: it neither selects positions nor averages them"
    if not model.head.linear:
        return "model.head.kind: the head is not linear"
    return ""


def evidence(network: Network, pixels: np.ndarray) -> np.ndarray | None:
    """pixels uint8 [H, W, 3] -> float32 [f(H), f(W)], what each position adds to the logit; above 0 speaks for fake.

    None where `entries` gives none. Raises TooSmallError as it does.
    """
    found = entries(network, pixels)
    return None if found is None else added_up(network.model, found, pixels).astype(np.float32)


def added_up(model: Lfm, found: Entries, pixels: np.ndarray) -> np.ndarray:
    """Entries of pixels [H, W, 3] -> float64 [f(H), f(W)]: over all maps and ranks, what each position adds to the logit."""
    added = np.zeros([model.map_side(side) for side in pixels.shape[:2]])
    np.add.at(added, (found.rows, found.columns), found.weights * found.values)
    return added


def by_rank(found: Entries) -> bool:
    """Whether it matters for a value which rank it has, or that it was pooled at all; in a mean it does not."""
    return found.values.shape[1] == 1 or bool(np.ptp(found.weights, axis=1).any())


def window(model: Lfm, place: tuple[int, int], pixels: np.ndarray) -> Box:
    """Position (row, column) -> (x0, y0, x1, y1) with every pixel of [H, W, 3] that it is made from."""
    return _within(model.seen(*place), pixels)


def middle(model: Lfm, place: tuple[int, int], pixels: np.ndarray) -> Box:
    """Position (row, column) -> the square in the middle of its window that none of the others has: where it is painted."""
    backbone = model.backbone
    top, left = (backbone.stride * each - backbone.before + (backbone.window - backbone.stride) // 2 for each in place)
    return _within((left, top, left + backbone.stride, top + backbone.stride), pixels)


def _within(box: Box, pixels: np.ndarray) -> Box:
    x0, y0, x1, y1 = box
    return max(x0, 0), max(y0, 0), min(x1, pixels.shape[1]), min(y1, pixels.shape[0])


# Padded to the buckets of scoring, so that a folder of many sizes compiles few programs.
@functools.partial(jax.jit, static_argnums=0)
def _maps_and_weights(model: Lfm, variables: Any, images: jax.Array, sizes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """images [1, H, W, 3] -> logits [1], maps and the weight of each of their values in the logit, both [1, H', W', M]."""
    output: Any = model.apply(variables, images, sizes=sizes)
    mask = model.valid_positions(sizes, output.maps.shape[1:3])

    def logit(maps: jax.Array) -> jax.Array:
        logits: Any = model.apply(variables, maps, mask, method="read_out")
        return logits.sum()

    return output.logits, output.maps, jax.grad(logit)(output.maps)  # exact where the pooling selects and averages


def apart(ranked: Iterable[T], count: int, *, box: Callable[[T], Box]) -> list[T]:
    """The first of `ranked`, at most `count`, that overlap with none kept before them."""
    kept: list[T] = []
    for each in ranked:
        if len(kept) == count:
            break
        if not any(_overlap(box(each), box(other)) for other in kept):
            kept.append(each)
    return kept


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
