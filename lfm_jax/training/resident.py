"""A training set read once and kept on the devices; the images of each batch are cut out there.

They are cut by a program of their own before each step. The step is the same program as for batches from the host, on the same
images, so training is the same to the bit.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from lfm_jax.data.images import ImageError
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.resident import Layout, Resident, Size, packed, window_of
from lfm_jax.errors import ConfigError, DataError
from lfm_jax.ops.atlas import split_windows
from lfm_jax.runtime import sharding
from lfm_jax.runtime.distributed import gather
from lfm_jax.runtime.memory import memory_limit
from lfm_jax.runtime.progress import progress, say

ON_EVERY_DEVICE = 0.25  # share of a device's memory up to which each device has all images
AT_MOST = 0.8  # share of a device's memory that images may take


@dataclass
class Reading:
    """What a process knows after reading its share of the images, by number."""

    pixels: dict[int, np.ndarray]
    sizes: dict[int, Size]
    broken: dict[int, str]
    bytes: int = 0


def load(pipeline: TrainPipeline, devices: Mesh, *, axis: int = 0) -> Callable[[dict[str, jax.Array]], dict[str, jax.Array]]:
    """Puts the images of a training pipeline on the devices, and has it draw places in place of images from now on.

    Each process reads its share to learn sizes and what is broken, and then what its devices keep.

    Args:
      axis: along which batches are split over the devices.

    Returns:
      A function that gives a batch on the devices its images.

    Raises:
      ConfigError: they do not fit into the devices' memory, or have no common size where no crop is taken.
    """
    keys, config = pipeline.image_keys(), pipeline.config
    limit = memory_limit() // (jax.local_device_count() if jax.default_backend() == "cpu" else 1)
    room = int(AT_MOST * limit)
    own = _read_share(pipeline, most=room * devices.size)
    everywhere = gather({"sizes": list(own.sizes.items()), "broken": list(own.broken.items()), "bytes": own.bytes})
    _require_room(sum(reading["bytes"] for reading in everywhere), room, devices.size, "at least ")
    read = {number: tuple(size) for reading in everywhere for number, size in reading["sizes"]}
    broken = {number: reason for reading in everywhere for number, reason in reading["broken"]}
    sizes: list[Size] = [read.get(number, (0, 0)) for number in range(len(keys))]
    window = window_of(config, sizes, pipeline.degradation)
    margin = max(window) if pipeline.degradation else 0
    layout = packed(sizes, margin=margin)
    if devices.size > 1 and layout.shard_bytes > ON_EVERY_DEVICE * limit:
        layout = packed(sizes, shards=devices.size, margin=margin)
    _require_room(layout.shards * layout.shard_bytes, room, layout.shards)
    where = "in shards over the devices" if layout.shards > 1 else "on every device"
    say(f"{len(keys) - len(broken)} training images lie {where}: {amount(layout.shard_bytes)} on each")
    atlas = _on_devices(pipeline, layout, own, read, devices)
    pipeline.resident = Resident({key: number for number, key in enumerate(keys)}, sizes, broken, layout, window)
    height, width = window
    cut = jax.jit(
        functools.partial(split_windows, height=height, width=width, mesh=devices, axis=axis),
        out_shardings=sharding.split_batch(devices, axis=axis),
    )

    def with_images(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        others = {name: array for name, array in batch.items() if name != "place"}
        return {"image": cut(atlas, batch["place"]), **others}

    return with_images


def _read_share(pipeline: TrainPipeline, *, most: int) -> Reading:
    """Reads the images of this process's share; stops where they are more than all devices have room for."""
    keys, reading = pipeline.image_keys(), Reading({}, {}, {})
    share = range(jax.process_index(), len(keys), jax.process_count())

    def read(place: int) -> np.ndarray | str:
        try:
            return np.asarray(pipeline.resized_image(keys[share[place]]))
        except ImageError as error:
            return str(error)

    for number, value in zip(share, _ahead(pipeline, read, len(share)), strict=True):
        if isinstance(value, str):
            reading.broken[number] = value
            continue
        reading.pixels[number], reading.sizes[number] = value, (value.shape[1], value.shape[0])
        reading.bytes += value.nbytes
        if reading.bytes > most:
            break
    return reading


def _on_devices(pipeline: TrainPipeline, layout: Layout, own: Reading, sizes: Mapping[int, Size], devices: Mesh) -> jax.Array:
    """The atlas, uint8 [shards, rows, 3 columns]: a shard on each device, or the only one on all of them."""
    keys, shards = pipeline.image_keys(), layout.places[:, 0]

    def pixels(number: int) -> np.ndarray:
        if number in own.pixels:
            return own.pixels.pop(number)  # which frees them
        try:
            return np.asarray(pipeline.resized_image(keys[number]))
        except ImageError as error:
            raise DataError(f"{keys[number]}: another process could read it, this one cannot: {error}") from None

    @functools.cache
    def shard(number: int) -> np.ndarray:
        packed_pixels = np.zeros((1, layout.rows, 3 * layout.columns), np.uint8)
        images = [image for image in np.flatnonzero(shards == number).tolist() if image in sizes]
        for image, array in zip(images, _ahead(pipeline, lambda place: pixels(images[place]), len(images)), strict=True):
            _, row, column = layout.places[image]
            height, width, _ = array.shape
            packed_pixels[0, row : row + height, 3 * column : 3 * (column + width)] = array.reshape(height, -1)
        return packed_pixels

    placing = sharding.split_batch(devices) if layout.shards > 1 else sharding.replicated(devices)
    shape = (layout.shards, layout.rows, 3 * layout.columns)
    return jax.make_array_from_callback(shape, placing, lambda index: shard(index[0].start or 0 if index else 0))


def _ahead(pipeline: TrainPipeline, read: Callable[[int], Any], count: int) -> Any:
    threads = pipeline.config.threads
    values = read_ahead(read, count, threads=threads, ahead=4 * threads)
    return progress(values, total=count, what="read training images", lines=False)


def _require_room(needed: int, room: int, devices: int, about: str = "") -> None:
    if needed > room * devices:
        of_each = f", {amount(needed // devices)} on each of {devices} devices" if devices > 1 else ""
        raise ConfigError(
            f"config.data.resident = True: the training images take {about}{amount(needed)}{of_each}, more than the {amount(room)} "
            f"that they may of a device's memory ({AT_MOST:.0%}): use more devices, a smaller config.data.resize, or "
            "config.data.resident = False"
        )


def amount(size: int) -> str:
    """Bytes in words."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
