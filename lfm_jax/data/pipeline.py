"""Training batches: order and augmentation a pure function of (seed, position), read ahead by threads.

In: a Source and its data config. Out: dicts of numpy arrays, `image` uint8 [b, h, w, 3], `label` float32
[b], `index` int32 [b] (which example). Position p is example p % n of epoch p // n; a process takes its
slice of every global batch, so the loader has no state to save.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data.images import ImageError
from lfm_jax.data.sources import Source
from lfm_jax.errors import DataError
from lfm_jax.rng import Stream, host_rng

Batch = dict[str, Any]


class TrainPipeline:
    """Indexable by global position; `batches` reads ahead.

    A broken file is replaced by the next one in the epoch's order, and named in `broken`.
    """

    def __init__(self, source: Source, config: ConfigDict, *, seed: int):
        self.source, self.config, self.seed = source, config, seed
        self.broken: dict[str, str] = {}  # path -> reason
        self._order = functools.lru_cache(maxsize=2)(self._epoch_order)

    def __getitem__(self, position: int) -> Batch:
        """One augmented example.

        Raises:
          DataError: more than `max_broken_share` of the files seen cannot be used.
        """
        size = len(self.source.examples)
        epoch, offset = divmod(position, size)
        rng = host_rng(self.seed, Stream.AUGMENT, position)
        for attempt in range(size):
            index = int(self._order(epoch)[(offset + attempt) % size])
            example = self.source.examples[index]
            try:
                pixels = augment(self.source.image(index), self.config, rng)
            except ImageError as reason:
                self._note_broken(example.path, str(reason))
                continue
            return {"image": pixels, "label": np.float32(example.label), "index": np.int32(index)}
        raise DataError(f"not one of the {size} images of {self.source.name} can be used")

    def batches(
        self, first: int, last: int, batch_size: int, *, parts: int = 1, process: int = 0, processes: int = 1
    ) -> Iterator[Batch]:
        """This process's slice of the global batches of steps first..last - 1, `batch_size` / `processes` each.

        With several `parts` (gradient accumulation) the slice is one of each part, part after part.
        """
        local, part_size = batch_size // processes, batch_size // parts

        def position(i: int) -> int:
            step, place = divmod(i, local)
            part, place = divmod(place, local // parts)
            return (first + step) * batch_size + part * part_size + process * (local // parts) + place

        dataset = grain.MapDataset.range((last - first) * local).map(lambda i: self[position(i)]).batch(local, batch_fn=_stack)
        options = grain.ReadOptions(num_threads=self.config.threads, prefetch_buffer_size=self.config.prefetch)
        return iter(dataset.to_iter_dataset(options))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        return host_rng(self.seed, Stream.SHUFFLE, epoch).permutation(len(self.source.examples))

    def _note_broken(self, path: str, reason: str) -> None:
        self.broken[path] = reason
        limit = self.config.max_broken_share * len(self.source.examples)
        if len(self.broken) > limit:
            listed = "\n  ".join(f"{path}: {reason}" for path, reason in list(self.broken.items())[:10])
            raise DataError(
                f"{len(self.broken)} of {len(self.source.examples)} training images cannot be used, more than "
                f"config.data.max_broken_share = {self.config.max_broken_share}:\n  {listed}"
            )


def _stack(examples: Sequence[Batch]) -> Batch:
    """Raises DataError, naming the fields, for images that do not make one array."""
    shapes = {example["image"].shape for example in examples}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{width} x {height}" for height, width, _ in shapes))
        raise DataError(f"images of several sizes ({sizes}) in one batch: set config.data.crop or config.data.resize")
    return {key: np.stack([example[key] for example in examples]) for key in examples[0]}


def augment(image: Image.Image, config: ConfigDict, rng: np.random.Generator) -> np.ndarray:
    """RGB image -> uint8 [crop, crop, 3]: resize, random crop, random flip. The draws come in that fixed order."""
    if config.resize:
        image = image.resize((config.resize, config.resize), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    if config.crop:
        if min(height, width) < config.crop:
            raise ImageError(f"{width} x {height} px is smaller than config.data.crop = {config.crop}")
        top, left = rng.integers(height - config.crop + 1), rng.integers(width - config.crop + 1)
        pixels = pixels[top : top + config.crop, left : left + config.crop]
    if config.flip and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
