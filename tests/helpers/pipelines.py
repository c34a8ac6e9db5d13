"""Training batches of examples that are drawn where they are asked for."""

import numpy as np
from PIL import Image

from lfm_jax import config
from lfm_jax.data import synthetic
from lfm_jax.data.images import ImageError
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Example

HEIGHT, WIDTH = 7, 6


class Drawn:
    """Examples whose pixels are (row, column, index); those in `broken` cannot be decoded."""

    name = "drawn"

    def __init__(self, size=10, broken=(), shape=(HEIGHT, WIDTH)):
        self.examples = [Example(f"{index}.png", index % 2) for index in range(size)]
        self.broken, self.shape = set(broken), shape

    def image(self, index):
        if index in self.broken:
            raise ImageError("truncated")
        rows, columns = np.indices(self.shape)
        return Image.fromarray(np.stack([rows, columns, np.full(self.shape, index)], -1).astype(np.uint8))


class Pictures:
    """Photograph-like images of these sizes, width and height."""

    name = "pictures"

    def __init__(self, sizes, path="{}.png"):
        self.examples = [Example(path.format(index), index % 2) for index in range(len(sizes))]
        self.images = [
            Image.fromarray(synthetic.example(0, "train", 2 * index, max(size))[0]).crop((0, 0, *size))
            for index, size in enumerate(sizes)
        ]

    def image(self, index):
        return self.images[index]


def pipeline(source=None, *, seed=0, **fields):
    data = config.data()
    data.update({"resize": 0, "crop": 4, "threads": 2, "prefetch": 2, **fields})
    return TrainPipeline(source or Drawn(), data, seed=seed)


def read(batches):
    """All rows of some batches, one array per name."""
    batches = list(batches)
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values)
