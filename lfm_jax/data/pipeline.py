"""Training batches: order and augmentation a pure function of (seed, position), read ahead by threads.

In: a Source and its data config. Out: dicts of numpy arrays, `image` uint8 [b, h, w, 3], `label` float32
[b], `index` int32 [b] (which example). Position p is example p % n of epoch p // n; a process takes its
slice of every global batch, so the loader has no state to save.
"""

import functools
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data.cache import KeptImages
from lfm_jax.data.images import ImageError
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.sources.base import Source
from lfm_jax.data.transforms import augment, settle
from lfm_jax.errors import DataError
from lfm_jax.runtime.rng import Stream, host_rng

Batch = dict[str, Any]


class TrainPipeline:
    """Indexable by global position; `batches` reads ahead. With `views` 2, images are two views of each, [b, 2, h, w, 3].

    A file that is broken, or slower than `timeout_seconds`, is replaced by the next one in the epoch's order and
    named in `broken`. A slow one is not tried again. Whether a file is slow depends on the day: batches are a
    function of (seed, position) alone as long as none is.
    """

    def __init__(self, source: Source, config: ConfigDict, *, seed: int, views: int = 1):
        self.source, self.config, self.seed, self.views = source, config, seed, views
        self.broken: dict[str, str] = {}  # path -> reason
        self._slow: dict[int, str] = {}  # index -> reason
        self._kept = KeptImages(config.cache_mib << 20)
        self._order = functools.lru_cache(maxsize=2)(self._epoch_order)

    def __getitem__(self, position: int) -> Batch:
        """One augmented example.

        Raises:
          DataError: more than `max_broken_share` of the files seen cannot be used.
        """
        size = len(self.source.examples)
        epoch, offset = divmod(position, size)
        streams = (Stream.AUGMENT, Stream.SECOND_VIEW)[: self.views]
        draws = [host_rng(self.seed, stream, position) for stream in streams]
        for attempt in range(size):
            index = int(self._order(epoch)[(offset + attempt) % size])
            example = self.source.examples[index]
            try:
                pixels = self._augmented(self._settled(index), draws)
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

        def example(i: int) -> Batch:
            step, place = divmod(i, local)
            part, place = divmod(place, local // parts)
            return self[(first + step) * batch_size + part * part_size + process * (local // parts) + place]

        # The threads share a batch: the first is there sooner than if each had one of its own.
        ahead = self.config.prefetch * local
        examples = read_ahead(example, (last - first) * local, threads=self.config.threads, ahead=ahead)
        while batch := list(itertools.islice(examples, local)):
            yield _stack(batch)

    def _augmented(self, image: Image.Image, draws: Sequence[np.random.Generator]) -> np.ndarray:
        views = [{"image": np.asarray(augment(image, self.config, rng))} for rng in draws]
        pixels: np.ndarray = _stack(views)["image"] if len(views) > 1 else views[0]["image"]
        return pixels

    def _epoch_order(self, epoch: int) -> np.ndarray:
        return host_rng(self.seed, Stream.SHUFFLE, epoch).permutation(len(self.source.examples))

    def _settled(self, index: int) -> Image.Image:
        return self._kept.get(index, lambda: settle(self._image(index), self.config))

    def _image(self, index: int) -> Image.Image:
        if not self.config.timeout_seconds:
            return self.source.image(index)
        if index in self._slow:
            raise ImageError(self._slow[index])
        try:
            return within(self.config.timeout_seconds, lambda: self.source.image(index))
        except TimeoutError:
            self._slow[index] = f"not there after config.data.timeout_seconds = {self.config.timeout_seconds}"
            raise ImageError(self._slow[index]) from None

    def _note_broken(self, path: str, reason: str) -> None:
        self.broken[path] = reason
        limit = self.config.max_broken_share * len(self.source.examples)
        if len(self.broken) > limit:
            listed = "\n  ".join(f"{path}: {reason}" for path, reason in list(self.broken.items())[:10])
            raise DataError(
                f"{len(self.broken)} of {len(self.source.examples)} training images cannot be used, more than "
                f"config.data.max_broken_share = {self.config.max_broken_share}:\n  {listed}"
            )


def within(seconds: float, read: Callable[[], Image.Image]) -> Image.Image:
    """What `read` returns or raises, or TimeoutError; then its thread is left behind, as none can be stopped.

    A thread of its own for each call, as a pool's would be waited for when Python ends.
    """
    result: queue.SimpleQueue[Image.Image | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            result.put(read())
        except Exception as error:
            result.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        found = result.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


def _stack(examples: Sequence[Batch]) -> Batch:
    """Raises DataError, naming the fields, for images that do not make one array."""
    shapes = {example["image"].shape for example in examples}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{width} x {height}" for *_, height, width, _ in shapes))
        raise DataError(f"images of several sizes ({sizes}) in one batch: set config.data.crop or config.data.resize")
    return {key: np.stack([example[key] for example in examples]) for key in examples[0]}
