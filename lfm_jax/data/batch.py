"""The layout of a training batch, stated once: what the pipeline reads, the devices receive and the step takes.

A batch is a dict of arrays with the images of the batch along their first axis, B of them:

    "image"  uint8    [B, H, W, 3], or [B, 2, H, W, 3] with two random views of each image
    "label"  float32  [B], 0 real, 1 fake
    "index"  int32    [B], which example of the source

With `config.data.augment_on = "device"` the images are the windows that the device crops and degrades, and there is

    "draws"  int32    [B, 15], or [B, 2, 15], what was drawn for each (`lfm_jax.ops.degradation.Draws`)

With `config.data.resident` the host makes no images. In their place it says where the devices find them, in

    "place"  int32    [B, 4], or [B, 2, 4], see `lfm_jax.data.resident`

and `lfm_jax.training.resident` puts "image" in its place before the step.

With gradient accumulation in A parts every array has one more axis in front, [A, B / A, ...].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from lfm_jax.data import on_device
from lfm_jax.errors import DataError
from lfm_jax.ops.degradation import Draws

Batch = dict[str, Any]

DTYPES: Mapping[str, Any] = {"image": np.uint8, "label": np.float32, "index": np.int32, "draws": np.int32, "place": np.int32}


def batch_shapes(config: ConfigDict, side: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of the arrays of one global batch as the training step takes it, parts and views included.

    Args:
      config: of a run; `batch_size`, `accumulate` and `consistency` decide.
      side: height and width of a training image, in pixels.
    """
    degradation = on_device.degradation_of(config.data)
    parts, images = config.accumulate, config.batch_size
    lead = (parts, images // parts) if parts > 1 else (images,)
    view_count = views_per_image(config)
    views = (view_count,) if view_count > 1 else ()
    side = degradation.window if degradation else side
    shapes = {"image": (*lead, *views, side, side, 3), "label": lead, "index": lead}
    if degradation:
        shapes["draws"] = (*lead, *views, len(Draws._fields))
    return {name: (shape, DTYPES[name]) for name, shape in shapes.items()}


def views_per_image(config: ConfigDict) -> int:
    """Random views of each image in a batch: two where their disagreement is part of the loss."""
    return 2 if config.consistency else 1


def make_example(views: Mapping[str, np.ndarray], label: int | None, index: int) -> Batch:
    """One example of a batch: the same arrays without the first axis. `views` are its image and, for the device, its draws."""
    values = {**views, "label": label, "index": index}
    return {name: np.asarray(value, DTYPES[name]) for name, value in values.items()}


def stack(examples: Sequence[Batch]) -> Batch:
    """Puts examples into one batch.

    Raises:
      DataError: the images differ in size; names the fields that give them one.
    """
    shapes = {example["image"].shape for example in examples if "image" in example}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{width} x {height}" for *_, height, width, _ in shapes))
        raise DataError(f"images of several sizes ({sizes}) in one batch: set config.data.crop or config.data.resize")
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def split_into_parts(batch: Batch, parts: int) -> Batch:
    """Arrays [b, ...] -> [parts, b / parts, ...] for gradient accumulation; one part changes nothing."""
    if parts == 1:
        return batch
    return {name: array.reshape(parts, -1, *array.shape[1:]) for name, array in batch.items()}
