"""Where an image gave its evidence: the logit taken apart into what each position of the map added to it.

In: a Detector and the pixels of one image. Out: a signed map, and a picture of it on the image. With a pooling of
single positions (top-k) and a linear head this is no estimate: the logit is the head's bias plus the sum of the map.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from PIL import Image, ImageDraw

from lfm_jax.data.protocols import Box
from lfm_jax.detector import Detector
from lfm_jax.models import Lfm, Output
from lfm_jax.models.lfm import LinearHead
from lfm_jax.scoring import bucket

T = TypeVar("T")
FAKE, REAL = (202, 0, 32), (5, 113, 176)  # RGB of evidence above and below zero, told apart by the colour-blind too
STRONGEST = 0.85  # opacity of an image's strongest position
OUTLINED = 5  # windows


class Entries(NamedTuple):
    """What was pooled, by map and rank, each [M, K]: its place on the map, its value and its weight in the head."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    weights: np.ndarray


def entries(detector: Detector, pixels: np.ndarray) -> Entries | None:
    """pixels uint8 [H, W, 3] -> Entries; the logit is the head's bias plus the sum of values * weights.

    None where there is no such sum: a pooling that mixes positions, or a head that is not linear.

    Raises:
      TooSmallError: the image gives fewer positions than are pooled.
    """
    model = detector.model
    if not isinstance(model.head, LinearHead):
        return None
    height, width = pixels.shape[:2]
    model.require_size(height, width)
    padded = np.zeros((1, bucket(height), bucket(width), 3), np.uint8)
    padded[0, :height, :width] = pixels
    output = _output(model, detector.variables, padded, np.array([[height, width]], np.int32))
    if output.positions is None:
        return None
    values = np.asarray(output.values[0], np.float64)
    weights = np.asarray(detector.variables["params"]["head"]["kernel"], np.float64).reshape(values.shape)
    return Entries(*np.divmod(np.asarray(output.positions[0]), output.maps.shape[2]), values, weights)


def evidence(detector: Detector, pixels: np.ndarray) -> np.ndarray | None:
    """pixels uint8 [H, W, 3] -> float32 [f(H), f(W)], what each position adds to the logit; above 0 speaks for fake.

    None where `entries` gives none. Raises TooSmallError as it does.
    """
    found = entries(detector, pixels)
    if found is None:
        return None
    added = np.zeros([detector.model.backbone.map_side(side) for side in pixels.shape[:2]])
    np.add.at(added, (found.rows, found.columns), found.weights * found.values)
    return added.astype(np.float32)


# Padded to the buckets of scoring, so that a folder of many sizes compiles few programs.
@functools.partial(jax.jit, static_argnums=0)
def _output(model: Lfm, variables: Any, images: jax.Array, sizes: jax.Array) -> Output:
    output: Any = model.apply(variables, images, sizes=sizes)
    return output


def overlay(detector: Detector, pixels: np.ndarray, added: np.ndarray) -> Image.Image:
    """pixels uint8 [H, W, 3] and their evidence -> the image in grey, red where it speaks for fake, blue for real.

    A position is painted on the middle of the window that it sees, its opacity the square root of its share of the
    image's strongest, as most are far weaker. The windows of the strongest are framed, at most OUTLINED.
    """
    stride, window = detector.model.backbone.stride, detector.model.backbone.window
    before = (window - stride) // 2
    cells = added.repeat(stride, 0).repeat(stride, 1)
    behind = [(before, side - before - length) for side, length in zip(pixels.shape, cells.shape, strict=False)]
    ranked = (divmod(int(place), added.shape[1]) for place in np.argsort(-np.abs(added), axis=None))
    windows = (
        ((column * stride, row * stride, column * stride + window, row * stride + window), float(added[row, column]))
        for row, column in ranked
        if added[row, column] != 0
    )
    return paint(pixels, np.pad(cells, behind), apart(windows, OUTLINED, box=lambda each: each[0]))


def paint(pixels: np.ndarray, heat: np.ndarray, frames: Sequence[tuple[Box, float]]) -> Image.Image:
    """pixels uint8 [H, W, 3], evidence float32 [H, W], windows with theirs -> the picture that `overlay` describes."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None].repeat(3, 2)
    painted = heat[..., None]
    opacity = STRONGEST * np.sqrt(np.abs(painted) / max(float(np.abs(heat).max()), np.finfo(np.float32).tiny))
    colour = np.where(painted > 0, *np.array([FAKE, REAL], np.float32))
    image = Image.fromarray(np.round(grey * (1 - opacity) + colour * opacity).astype(np.uint8))
    draw, thick = ImageDraw.Draw(image), max(1, max(image.size) // 128)
    for (x0, y0, x1, y1), weight in frames:
        for out, line in ((thick, FAKE if weight > 0 else REAL), (2 * thick, (255, 255, 255))):
            draw.rectangle((x0 - out, y0 - out, x1 - 1 + out, y1 - 1 + out), outline=line, width=thick)
    return image


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
