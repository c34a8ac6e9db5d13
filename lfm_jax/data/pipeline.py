"""Training batches whose order and augmentation are a pure function of (seed, position), read ahead by threads or processes.

Which example stands at a position is in order.py. The loader has no state to save: a process takes its slice of every
global batch, and a resumed run starts at its step. The layout of a batch is in batch.py.
"""

import contextvars
import functools
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data.aligned import AlignedFakes, first_of_pair
from lfm_jax.data.batch import Batch, make_example, stack
from lfm_jax.data.cache import KeptImages
from lfm_jax.data.device_draws import window_and_draws
from lfm_jax.data.images import ImageError, decode
from lfm_jax.data.on_device import degradation_of
from lfm_jax.data.order import training_order
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.resident import ImageKey, Resident
from lfm_jax.data.sources.base import Source
from lfm_jax.data.transforms import augment, resized, settle
from lfm_jax.data.workers import read_in_workers
from lfm_jax.errors import DataError
from lfm_jax.ops.degradation import Degradation
from lfm_jax.runtime.rng import Stream, host_rng

NAMED_FILES = 10  # broken ones, in the message that ends a run


class TrainPipeline:
    """Training examples by global position, and batches of them read ahead.

    A file that is broken, or slower than `timeout_seconds`, is replaced by the next one in the order of the epoch and
    entered in `broken`. A slow file is not tried again. Whether a file is slow depends on the day, so batches are a
    function of (seed, position) only as long as none is.

    Args:
      source: labelled images.
      config: the data config, `config.data` of a run.
      seed: of the run.
      views: with 2, each image comes as two random views of it, [b, 2, h, w, 3].
    """

    def __init__(self, source: Source, config: ConfigDict, *, seed: int, views: int = 1):
        self.source, self.config, self.seed, self.views = source, config, seed, views
        self.broken: dict[str, str] = {}  # path -> reason
        self._slow: dict[int, str] = {}  # index -> reason
        self._kept = KeptImages(config.cache_mib << 20)
        self._order = training_order(source.examples, config.balance, seed=seed, shuffle=config.shuffle)
        self.degradation = degradation_of(config)
        self.resident: Resident | None = None  # once the images are on the devices
        self._aligned = None
        if config.aligned.share:
            self._aligned = AlignedFakes(source.examples, config.aligned, balance=config.balance, seed=seed)
            self._pair_config = config.copy_and_resolve_references()
            self._pair_config.augment = config.aligned.augment

    def __getitem__(self, position: int) -> Batch:
        """One augmented example.

        Raises:
          DataError: more than `max_broken_share` of the files are unusable.
        """
        pairs = self._aligned if self._aligned and self._aligned.has_pair_at(position) else None
        config, order = (self.config, self._order) if pairs is None else (self._pair_config, pairs.order)
        first = position if pairs is None else first_of_pair(position)
        streams = (Stream.AUGMENT, Stream.SECOND_VIEW)[: self.views]
        rngs = [host_rng(self.seed, stream, first) for stream in streams]
        size = len(self.source.examples)
        for attempt in range(size):
            index = order(first, attempt)
            example = self.source.examples[index]
            is_aligned_fake = position != first
            try:
                arrays = self._views(index, position, config, rngs, is_aligned_fake=is_aligned_fake)
            except ImageError as error:
                self._note_broken(example.path, str(error))
                continue
            return make_example(arrays, 1 if is_aligned_fake else example.label, index)
        raise DataError(f"not one of the {size} images of {self.source.name} can be used")

    def batches(
        self, first: int, last: int, batch_size: int, *, parts: int = 1, process: int = 0, processes: int = 1
    ) -> Iterator[Batch]:
        """This process's slice of the global batches of steps `first` to `last` - 1.

        Args:
          first, last: steps, counted from 0; `last` is not read.
          batch_size: of the global batch; the slice has `batch_size` / `processes` images.
          parts: of gradient accumulation. The slice then holds a slice of each part, one part after another.
          process, processes: this one, of how many.
        """
        local, part_size = batch_size // processes, batch_size // parts

        def position(number: int) -> int:
            step, place = divmod(number, local)
            part, place = divmod(place, local // parts)
            return (first + step) * batch_size + part * part_size + process * (local // parts) + place

        if self.config.workers:
            yield from self._from_workers([position(number) for number in range(local)], last - first, batch_size)
            return

        # The threads work on one batch together: it is ready sooner than if each thread had a batch of its own.
        ahead = self.config.prefetch * local
        count = (last - first) * local
        examples = read_ahead(lambda number: self[position(number)], count, threads=self.config.threads, ahead=ahead)
        while batch := list(itertools.islice(examples, local)):
            yield stack(batch)

    def _from_workers(self, positions: Sequence[int], steps: int, batch_size: int) -> Iterator[Batch]:
        """Batches made by worker processes; `positions` are those of the first one."""
        read = functools.partial(_batch_and_broken, self, positions, batch_size)
        options = {"workers": self.config.workers, "threads": self.config.threads, "ahead": self.config.prefetch}
        for batch, broken in read_in_workers(read, steps, **options):
            for path, reason in broken:
                self._note_broken(path, reason)
            yield batch

    def image_keys(self) -> list[ImageKey]:
        """All images that a run may read, aligned fakes included."""
        return [*range(len(self.source.examples)), *(self._aligned.files() if self._aligned else [])]

    def resized_image(self, key: ImageKey) -> Image.Image:
        """An image before anything random is done to it. Raises ImageError."""
        return resized(decode(key) if isinstance(key, Path) else self._image(key), self.config.resize)

    def _views(
        self, index: int, position: int, config: ConfigDict, rngs: Sequence[np.random.Generator], *, is_aligned_fake: bool
    ) -> dict[str, np.ndarray]:
        """The random views of one example, or where the devices find them and what they make of them."""
        if self.resident:
            key = self._aligned.file(index, position) if is_aligned_fake and self._aligned else index
            views = [self.resident.view(key, config, rng, self.degradation) for rng in rngs]
            return stack(views) if len(views) > 1 else views[0]
        image = self._aligned_fake(index, position) if is_aligned_fake else self._settled(index)
        return augmented(image, config, rngs, self.degradation)

    def __reduce__(self) -> tuple[Any, ...]:
        """For worker processes, which go through the same order by themselves."""
        make = functools.partial(TrainPipeline, seed=self.seed, views=self.views)
        return make, (self.source, self.config), {"resident": self.resident}

    def _settled(self, index: int) -> Image.Image:
        if self.views == 1 and not self._kept.limit:  # `augment` makes less than all of it
            return self._image(index)
        return self._kept.get(index, lambda: settle(self._image(index), self.config))

    def _aligned_fake(self, index: int, position: int) -> Image.Image:
        assert self._aligned is not None
        file = self._aligned.file(index, position)
        return self._kept.get(file, lambda: settle(decode(file), self._pair_config))

    def _image(self, index: int) -> Image.Image:
        if not self.config.timeout_seconds:
            return self.source.image(index)
        if index in self._slow:
            raise ImageError(self._slow[index])
        try:
            return within(self.config.timeout_seconds, lambda: self.source.image(index))
        except TimeoutError:
            self._slow[index] = f"not read within config.data.timeout_seconds = {self.config.timeout_seconds}"
            raise ImageError(self._slow[index]) from None

    def _note_broken(self, path: str, reason: str) -> None:
        self.broken[path] = reason
        limit = self.config.max_broken_share * len(self.source.examples)
        if len(self.broken) > limit:
            listed = "\n  ".join(f"{path}: {reason}" for path, reason in list(self.broken.items())[:NAMED_FILES])
            raise DataError(
                f"{len(self.broken)} of {len(self.source.examples)} training images cannot be used, more than "
                f"config.data.max_broken_share = {self.config.max_broken_share} allows:\n  {listed}"
            )


def _batch_and_broken(
    pipeline: TrainPipeline, positions: Sequence[int], batch_size: int, step: int
) -> tuple[Batch, list[tuple[str, str]]]:
    """A batch, and the files that this worker has met and cannot use."""
    batch = stack([pipeline[step * batch_size + position] for position in positions])
    return batch, list(pipeline.broken.items())


def augmented(
    image: Image.Image, config: ConfigDict, rngs: Sequence[np.random.Generator], degradation: Degradation | None = None
) -> dict[str, np.ndarray]:
    """A random view of the image for each generator, or what the device makes one of.

    Returns:
      "image" uint8 [h, w, 3] and, for the device, "draws" int32 [15]; of more than one view [views, ...].
    """
    if degradation:
        pairs = [window_and_draws(image, config, rng, degradation) for rng in rngs]
        views = [{"image": window, "draws": draws} for window, draws in pairs]
    else:
        views = [{"image": np.asarray(augment(image, config, rng))} for rng in rngs]
    return stack(views) if len(views) > 1 else views[0]


def within(seconds: float, read: Callable[[], Image.Image]) -> Image.Image:
    """Calls `read` and returns its image, or raises what it raises.

    Each call has a thread of its own, which is left behind if it is too slow: threads cannot be stopped, and Python
    would wait at its exit for those of a pool.

    Raises:
      TimeoutError: nothing came within `seconds`.
    """
    results: queue.SimpleQueue[Image.Image | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put(read())
        except Exception as error:
            results.put(error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result
