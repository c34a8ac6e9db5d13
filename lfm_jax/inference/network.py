"""A network with its weights on the devices of this process: pixels in, logits out."""

import dataclasses
import functools
import os
from typing import Any, Self

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from lfm_jax import models
from lfm_jax.data.images import checked_pixels
from lfm_jax.models import Lfm, folding
from lfm_jax.runtime import sharding
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card, content_hash


class Network:
    """A model, its variables and their card; a batch is split over the devices of this process."""

    def __init__(self, model: Lfm, variables: dict[str, Any], card: Card):
        self.model = model
        self.card = dataclasses.replace(card, weights_sha256=content_hash(variables))
        self._mesh = sharding.data_mesh(jax.local_devices())
        self.variables = jax.device_put(variables, sharding.replicated(self._mesh))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a .pth, .safetensors, workdir or checkpoint directory. Raises WeightsError."""
        weights = weights_io.load(path)
        return cls(models.build(weights.card.model_config()), weights.variables, weights.card)

    @functools.cached_property
    def _folded(self) -> Any:
        return jax.device_put(folding.fold(self.model, self.variables), sharding.replicated(self._mesh))

    def logits(self, images: Any, *, sizes: Any = None) -> np.ndarray:
        """images uint8 [B, H, W, 3] -> logits float32 [B]; above 0 means fake at the default threshold.

        `sizes` [B, 2], (height, width): the images are padded at their right and bottom up to H x W, and
        each gets the logit it has alone.

        Raises:
          ValueError: another shape or dtype, or an image too small for the network (TooSmallError).
        """
        pending = self.logits_async(images, sizes=sizes)
        return np.asarray(pending)[: len(images)]

    def logits_async(self, images: Any, *, sizes: Any = None) -> jax.Array:
        """As `logits`, without waiting: a device array [B'] whose first B entries are the images'."""
        images = checked_pixels(images)
        if sizes is None:
            sizes = np.tile(np.asarray(images.shape[1:3], np.int32), (len(images), 1))
        sizes = np.asarray(sizes, np.int32)
        for height, width in np.unique(sizes, axis=0):
            self.model.require_size(int(height), int(width))
        rest = -len(images) % self._mesh.size
        images, sizes = (np.concatenate([array, array[:1].repeat(rest, 0)]) if rest else array for array in (images, sizes))
        batch = jax.device_put((images, sizes), sharding.split_batch(self._mesh))
        return forward(self.model, self._mesh, self._folded, *batch)


# One compilation per model and batch shape, shared by all networks.
@functools.partial(jax.jit, static_argnums=(0, 1))
def forward(model: Lfm, devices: Mesh, folded: Any, images: jax.Array, sizes: jax.Array) -> jax.Array:
    """images uint8 [B, H, W, 3], sizes [B, 2], split over `devices` -> logits float32 [B]; `folded` by `inference.fold`."""
    own, split = PartitionSpec(), PartitionSpec(*devices.axis_names)
    each = jax.shard_map(functools.partial(folding.forward, model), mesh=devices, in_specs=(own, split, split), out_specs=split)
    return each(folded, images, sizes)
