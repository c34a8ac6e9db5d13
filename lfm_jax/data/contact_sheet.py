"""A picture of what a data config does to training images: one row per image, one column per draw, pixel for pixel."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from lfm_jax.data.device_draws import window_and_draws
from lfm_jax.data.images import ImageError
from lfm_jax.data.on_device import degradation_of
from lfm_jax.data.sources.base import Source
from lfm_jax.data.transforms import augment
from lfm_jax.runtime.rng import Stream, host_rng

GAP, CAPTION = 4, 14  # px
MIN_WIDTH = 320  # px, so that captions have room

Row = tuple[str, list[Image.Image]]  # caption, tiles
Views = Callable[[Image.Image, Sequence[np.random.Generator]], list[Image.Image]]  # of an image, one for each generator


def augmentation_sheet(source: Source, config: ConfigDict, *, seed: int, images: int = 6, draws: int = 6) -> Image.Image:
    """Draws the sheet, as an RGB image, with views that the device makes where `config.augment_on` says so.

    Args:
      source: labelled images; those shown are spread evenly over it, real and fake in turn.
      config: the data config, `config.data` of a run.
      seed: of the run.
      images: number of rows. An image that cannot be read has a row with the reason.
      draws: number of columns.
    """
    views, rows = _views(config), []
    for number, index in enumerate(_evenly_spread(source, images)):
        rngs = [host_rng(seed, Stream.AUGMENT, number * draws + column) for column in range(draws)]
        rows.append(_row(source, views, index, rngs))
    return _paste(rows)


def _views(config: ConfigDict) -> Views:
    degradation = degradation_of(config)
    if not degradation:
        return lambda image, rngs: [augment(image, config, rng) for rng in rngs]
    degrade = jax.jit(degradation)

    def on_device(image: Image.Image, rngs: Sequence[np.random.Generator]) -> list[Image.Image]:
        windows, draws = zip(*(window_and_draws(image, config, rng, degradation) for rng in rngs), strict=True)
        return [Image.fromarray(pixels) for pixels in np.asarray(degrade(np.stack(windows), np.stack(draws)))]

    return on_device


def _row(source: Source, views: Views, index: int, rngs: Sequence[np.random.Generator]) -> Row:
    example = source.examples[index]
    caption = f"{'fake' if example.label else 'real'}  {example.path}"
    try:
        return caption, views(source.image(index), rngs)
    except ImageError as error:
        return f"{caption}: {error}", []


def _paste(rows: list[Row]) -> Image.Image:
    widths = [sum(tile.width + GAP for tile in tiles) for _, tiles in rows]
    heights = [max((tile.height for tile in tiles), default=0) + CAPTION + GAP for _, tiles in rows]
    sheet = Image.new("RGB", (max([MIN_WIDTH, *widths]), sum(heights)), "white")
    pen, top = ImageDraw.Draw(sheet), 0
    for (caption, tiles), height in zip(rows, heights, strict=True):
        pen.text((GAP, top), caption.encode("ascii", "replace").decode(), fill="black")
        left = 0
        for tile in tiles:
            sheet.paste(tile, (left, top + CAPTION))
            left += tile.width + GAP
        top += height
    return sheet


def _evenly_spread(source: Source, count: int) -> list[int]:
    """Indices of `count` examples, real and fake in turn, evenly spread over those of each label."""
    labels = np.array([example.label for example in source.examples])
    by_label = [np.flatnonzero(labels == label) for label in (0, 1)]
    picks = [indices[np.linspace(0, len(indices) - 1, min(-(-count // 2), len(indices))).astype(int)] for indices in by_label]
    in_turn = [int(pick[i]) for i in range(max(map(len, picks))) for pick in picks if i < len(pick)]
    return in_turn[:count]
