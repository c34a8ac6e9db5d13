"""The built-in images: procedural scenes, drawn when they are first asked for. The same everywhere, with no download."""

from collections.abc import Sequence

from PIL import Image

from lfm_jax.data import synthetic
from lfm_jax.data.sources.base import Example


class SyntheticSource:
    """A split of the built-in scenes: real as rendered, fake through a random up-sampling decoder.

    Args:
      split: "train", "val" or "test"; the generators of test are in no other split.
      size: number of images.
      side: height and width of each, in pixels.
      seed: another seed draws other scenes.

    Images are kept in memory once drawn.
    """

    def __init__(self, split: str, *, size: int, side: int, seed: int):
        self.name, self._key = f"synthetic/{split}", (seed, split, side)
        self._images: dict[int, Image.Image] = {}
        assignments = [synthetic.assignment(split, index) for index in range(size)]
        self.examples: Sequence[Example] = [
            Example(f"{generator}/{'1_fake' if label else '0_real'}/{index:06d}", label, "synthetic", generator)
            for index, (label, generator) in enumerate(assignments)
        ]

    def image(self, index: int) -> Image.Image:
        if index not in self._images:
            seed, split, side = self._key
            self._images[index] = Image.fromarray(synthetic.example(seed, split, index, side)[0])
        return self._images[index]

    def encoded(self, index: int) -> None:
        return None

    def content_hash(self, index: int) -> str:
        return f"{self._key} {index}"
