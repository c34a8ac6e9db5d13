"""What a data config does to images, to look at: a row for each image, a column for each draw, pixel for pixel.

In: a Source and its data config. Out: one PIL image.
"""

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from lfm_jax.data.images import ImageError
from lfm_jax.data.sources.base import Source
from lfm_jax.data.transforms import augment
from lfm_jax.runtime.rng import Stream, host_rng

GAP, CAPTION = 4, 14  # px


def contact_sheet(source: Source, config: ConfigDict, *, seed: int, images: int = 6, draws: int = 6) -> Image.Image:
    """-> RGB sheet; the images are spread evenly over the source, real and fake in turns. Unreadable ones show the reason."""
    rows = []
    for row, index in enumerate(_spread(source, images)):
        example = source.examples[index]
        caption = f"{'fake' if example.label else 'real'}  {example.path}"
        try:
            image = source.image(index)
            rows.append((caption, [augment(image, config, host_rng(seed, Stream.AUGMENT, row * draws + i)) for i in range(draws)]))
        except ImageError as reason:
            rows.append((f"{caption}: {reason}", []))
    widths = [sum(tile.width + GAP for tile in tiles) for _, tiles in rows]
    heights = [max((tile.height for tile in tiles), default=0) + CAPTION + GAP for _, tiles in rows]
    sheet = Image.new("RGB", (max([320, *widths]), sum(heights)), "white")
    pen, top = ImageDraw.Draw(sheet), 0
    for (caption, tiles), height in zip(rows, heights, strict=True):
        pen.text((GAP, top), caption.encode("ascii", "replace").decode(), fill="black")
        left = 0
        for tile in tiles:
            sheet.paste(tile, (left, top + CAPTION))
            left += tile.width + GAP
        top += height
    return sheet


def _spread(source: Source, count: int) -> list[int]:
    """`count` indices, real and fake in turns, each label's evenly over its examples."""
    labels = np.array([example.label for example in source.examples])
    chosen = [np.flatnonzero(labels == label) for label in (0, 1)]
    picks = [indices[np.linspace(0, len(indices) - 1, min(-(-count // 2), len(indices))).astype(int)] for indices in chosen]
    turns = [int(pick[i]) for i in range(max(map(len, picks))) for pick in picks if i < len(pick)]
    return turns[:count]
