"""Where in an image the evidence lies: its logit taken apart into what each position of the map added to it.

With a linear head and a pooling that sums or averages single positions this is exact, not an estimate: the logit is the
head's bias plus the sum of a signed map, in which values above 0 speak for fake.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from lfm_jax.data.protocols import Box
from lfm_jax.inference.batching import padded_shape
from lfm_jax.inference.network import Network
from lfm_jax.models import Lfm
from lfm_jax.runtime.settings import settled

T = TypeVar("T")


class Entries(NamedTuple):
    """The pooled values by map and rank, each [M, N]: place on the map, value, and weight in the logit."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    weights: np.ndarray

    @property
    def rank_matters(self) -> bool:
        """Whether a value's weight depends on its rank, or on being pooled at all. In a mean it does not."""
        return self.values.shape[1] == 1 or bool(np.ptp(self.weights, axis=1).any())


@settled()
def pooled_entries(network: Network, pixels: np.ndarray) -> Entries | None:
    """Finds the values that made an image's logit: the head's bias plus the sum of values * weights.

    Args:
      pixels: uint8 [H, W, 3].

    Returns:
      Entries of the N positions that each map pools, or None if the logit is not such a sum: see `no_sum`.

    Raises:
      TooSmallError: the image gives fewer positions than are pooled.
    """
    model = network.model
    if no_sum(model):
        return None
    height, width = pixels.shape[:2]
    model.require_size(height, width)
    padded = np.zeros((1, *padded_shape(pixels), 3), np.uint8)  # so that a folder of many sizes compiles few programs
    padded[0, :height, :width] = pixels
    logits, maps, weights = _maps_and_weights(model, network.variables, padded, np.array([[height, width]], np.int32))
    rows, columns = model.map_side(height), model.map_side(width)
    values, weights = (
        np.asarray(array[0, :rows, :columns], np.float64).reshape(-1, array.shape[-1]).T for array in (maps, weights)
    )
    if not np.isclose(network.bias + (values * weights).sum(), float(logits[0]), rtol=1e-4, atol=1e-3):
        return None  # a pooling from --import that mixes positions
    count = (weights != 0).sum(1).max()
    ranked = np.argsort(np.where(weights != 0, -values, np.inf), axis=1, kind="stable")[:, :count]
    values, weights = (np.take_along_axis(array, ranked, 1) for array in (values, weights))
    return Entries(*np.divmod(ranked, columns), values, weights)


def no_sum(model: Lfm) -> str:
    """Why a logit of this network is not a sum over single positions; "" if it may be one."""
    if not model.pooling.sums_positions:
        return "model.pooling.kind: it neither selects positions nor averages them"
    if not model.head.linear:
        return "model.head.kind: the head is not linear"
    return ""


def evidence_map(network: Network, pixels: np.ndarray) -> np.ndarray | None:
    """pixels uint8 [H, W, 3] -> float32 [f(H), f(W)]: what each position adds to the logit; above 0 speaks for fake.

    Like `pooled_entries`, returns None if there is no such sum, and raises TooSmallError.
    """
    entries = pooled_entries(network, pixels)
    return None if entries is None else summed(network.model, entries, pixels).astype(np.float32)


def summed(model: Lfm, entries: Entries, pixels: np.ndarray) -> np.ndarray:
    """Entries of pixels [H, W, 3] -> float64 [f(H), f(W)]: what each position adds to the logit, over all maps and ranks."""
    sums = np.zeros([model.map_side(side) for side in pixels.shape[:2]])
    np.add.at(sums, (entries.rows, entries.columns), entries.weights * entries.values)
    return sums


def window(model: Lfm, place: tuple[int, int], pixels: np.ndarray) -> Box:
    """Position (row, column) -> (x0, y0, x1, y1) of every pixel of [H, W, 3] that it is made from."""
    return _within(model.seen(*place), pixels)


def middle(model: Lfm, place: tuple[int, int], pixels: np.ndarray) -> Box:
    """Position (row, column) -> the square in the middle of its window that belongs to no other position.

    This is where its evidence is painted.
    """
    backbone = model.backbone
    top, left = (backbone.stride * index - backbone.before + (backbone.window - backbone.stride) // 2 for index in place)
    return _within((left, top, left + backbone.stride, top + backbone.stride), pixels)


def _within(box: Box, pixels: np.ndarray) -> Box:
    x0, y0, x1, y1 = box
    return max(x0, 0), max(y0, 0), min(x1, pixels.shape[1]), min(y1, pixels.shape[0])


@functools.partial(jax.jit, static_argnums=0)
def _maps_and_weights(model: Lfm, variables: Any, images: jax.Array, sizes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """images [1, H, W, 3] -> logits [1], maps and the weight of each of their values in the logit, both [1, H', W', M]."""
    output: Any = model.apply(variables, images, sizes=sizes)
    mask = model.valid_positions(sizes, output.maps.shape[1:3])

    def logit(maps: jax.Array) -> jax.Array:
        logits: Any = model.apply(variables, maps, mask, method="read_out")
        return logits.sum()

    return output.logits, output.maps, jax.grad(logit)(output.maps)  # exact where the pooling selects or averages


def without_overlap(ranked: Iterable[T], count: int, *, box: Callable[[T], Box]) -> list[T]:
    """The first `count` of `ranked` whose boxes overlap none that was taken before them."""
    taken: list[T] = []
    for item in ranked:
        if len(taken) == count:
            break
        if not any(_overlap(box(item), box(other)) for other in taken):
            taken.append(item)
    return taken


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
