"""The built-in images: procedural scenes, drawn when they are asked for.

In: a split and a seed. Out: a `SyntheticSource`, the same images everywhere.
"""

from collections.abc import Sequence

from PIL import Image

from lfm_jax.data import synthetic
from lfm_jax.data.sources.base import Example


class SyntheticSource:
    """Procedural scenes, real as rendered, fake through a random up-sampling decoder; kept in memory once made."""

    def __init__(self, split: str, *, size: int, side: int, seed: int):
        self.name, self._key = f"synthetic/{split}", (seed, split, side)
        self._images: dict[int, Image.Image] = {}
        drawn = [synthetic.assignment(split, index) for index in range(size)]
        self.examples: Sequence[Example] = [
            Example(f"{generator}/{'1_fake' if label else '0_real'}/{index:06d}", label, "synthetic", generator)
            for index, (label, generator) in enumerate(drawn)
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
