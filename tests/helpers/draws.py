"""The first random draws of every kind: `python -m tests.helpers.draws` writes them to tests/golden/draws.json.

A stored run continues with the draws of the version that began it, so these may not change. Write the file again only
where a kind of draw is new; where it differs in what it holds already, old runs are broken.
"""

import json
from typing import Any

import jax
import numpy as np
from PIL import Image

from lfm_jax import config
from lfm_jax.data import augmentations
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Example
from lfm_jax.runtime.rng import Stream, host_rng, step_key
from tests.helpers.paths import REPOSITORY

FILE = REPOSITORY / "tests" / "golden" / "draws.json"
SEED, SIDE = 5, 32


class Coordinates:
    """Images whose pixels are (4 * row, 4 * column, index), so that a crop shows where it was taken."""

    name = "coordinates"
    examples = tuple(Example(f"{index}.png", index % 2) for index in range(8))

    def image(self, index: int) -> Image.Image:
        rows, columns = np.indices((SIDE, SIDE))
        return Image.fromarray(np.stack([4 * rows, 4 * columns, np.full_like(rows, index)], -1).astype(np.uint8))


def pipeline(*, views: int = 1, flip: bool = False, crop: int = 0, degradation: str = "") -> TrainPipeline:
    """Training examples of `Coordinates`, with one augmentation of half the images at most."""
    data = config.data()
    data.update({"resize": 0, "crop": crop, "flip": flip})
    data.augment = augmentations.none()
    if degradation:
        data.augment[degradation].p = 0.5
    return TrainPipeline(Coordinates(), data, seed=SEED, views=views)


def differing(one: TrainPipeline, other: TrainPipeline, count: int) -> list[int]:
    """For each of the first positions 1 where the two hold other pixels, 0 where they hold the same."""
    pairs = ((one[position]["image"], other[position]["image"]) for position in range(count))
    return [int(not np.array_equal(*pair)) for pair in pairs]


def first_draws() -> dict[str, Any]:
    """Every kind of draw by name, as what json reads back."""
    rows = range(16)
    plain, flipped, cropped, twice = pipeline(), pipeline(flip=True), pipeline(crop=8), pipeline(crop=8, views=2)
    return {
        "device keys by stream, of steps 0 and 1": {
            stream.name: [np.asarray(jax.random.key_data(step_key(SEED, stream, step))).tolist() for step in (0, 1)]
            for stream in Stream
        },
        "bits drawn from the first device key of each stream": {
            stream.name: np.asarray(jax.random.bits(step_key(SEED, stream), (4,))).tolist() for stream in Stream
        },
        "host integers by stream, of positions 0 and 1": {
            stream.name: [host_rng(SEED, stream, position).integers(2**32, size=2).tolist() for position in (0, 1)]
            for stream in Stream
        },
        "order of two epochs": [int(plain[position]["index"]) for position in rows],
        "flips": [int(flipped[position]["image"][0, 0, 1] > 0) for position in rows],
        "crops": [(cropped[position]["image"][0, 0, :2] // 4).tolist() for position in rows],
        "crops of two views": [(twice[position]["image"][:, 0, 0, :2] // 4).tolist() for position in rows],
        "which images are degraded": {
            name: differing(pipeline(degradation=name), plain, len(rows)) for name in ("scale", "blur", "noise", "jpeg", "webp")
        },
    }


if __name__ == "__main__":
    kinds = (f" {json.dumps(name)}: {json.dumps(values)}" for name, values in first_draws().items())
    FILE.write_text("{\n" + ",\n".join(kinds) + "\n}\n")
