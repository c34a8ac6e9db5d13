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
from lfm_jax.runtime.settings import settled
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card, content_hash

TILES_AT_ONCE = 32


class Network:
    """A model, its variables and their card. Batches are split over the devices of this process."""

    def __init__(self, model: Lfm, variables: dict[str, Any], card: Card):
        self.model = model
        self.card = dataclasses.replace(card, weights_sha256=content_hash(variables))
        self._mesh = sharding.data_mesh(jax.local_devices())
        self.variables = jax.device_put(variables, sharding.replicated(self._mesh))

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, *, compute_dtype: str = "float32") -> Self:
        """Reads weights as `weights.io.load` does: by path, by name, or the default ones.

        Args:
          compute_dtype: what to score in, float32 or bfloat16, whatever they were trained in. Logits are float32.

        Raises:
          WeightsError: as `weights.io.load`.
        """
        weights = weights_io.load(path)
        card = dataclasses.replace(weights.card, model=weights.card.model | {"compute_dtype": compute_dtype})
        return cls(models.build(card.model_config()), weights.variables, card)

    @property
    def bias(self) -> float:
        """The constant of a linear head: what the logit is before any evidence."""
        return float(np.asarray(self.variables["params"]["head"]["bias"])[0])

    @functools.cached_property
    def _folded(self) -> Any:
        return jax.device_put(folding.fold(self.model, self.variables), sharding.replicated(self._mesh))

    def logits(self, images: Any, *, sizes: Any = None) -> np.ndarray:
        """Computes one logit per image; above 0 means fake at the default threshold.

        Args:
          images: uint8 [B, H, W, 3].
          sizes: [B, 2], the (height, width) of images that are padded at their right and bottom up to H x W. Each gets
            the logit it would have alone.

        Returns:
          float32 [B].

        Raises:
          ValueError: another shape or dtype, or an image too small for the network (TooSmallError).
        """
        pending = self.logits_async(images, sizes=sizes)
        return np.asarray(pending)[: len(images)]

    def logits_of_tiles(self, tiles: np.ndarray) -> np.ndarray:
        """`logits` of uint8 [N, H, W, 3], TILES_AT_ONCE at a time: a photograph of 100 megapixels has thousands of tiles."""
        return np.concatenate([self.logits(tiles[start : start + TILES_AT_ONCE]) for start in range(0, len(tiles), TILES_AT_ONCE)])

    @settled()
    def logits_async(self, images: Any, *, sizes: Any = None) -> jax.Array:
        """Like `logits`, but does not wait: returns a device array [B'] whose first B entries belong to the images."""
        images = checked_pixels(images)
        if sizes is None:
            sizes = np.tile(np.asarray(images.shape[1:3], np.int32), (len(images), 1))
        sizes = np.asarray(sizes, np.int32)
        for height, width in np.unique(sizes, axis=0):
            self.model.require_size(int(height), int(width))
        missing = -len(images) % self._mesh.size  # every device takes the same number of images
        if missing:
            images, sizes = (np.concatenate([array, array[:1].repeat(missing, 0)]) for array in (images, sizes))
        batch = jax.device_put((images, sizes), sharding.split_batch(self._mesh))
        return forward(self.model, self._mesh, self._folded, *batch)


# One compilation per model and batch shape, shared by all networks.
@functools.partial(jax.jit, static_argnums=(0, 1))
def forward(model: Lfm, devices: Mesh, folded: Any, images: jax.Array, sizes: jax.Array) -> jax.Array:
    """images uint8 [B, H, W, 3], sizes [B, 2], split over `devices` -> logits float32 [B].

    `folded`: the variables, with their BatchNorm folded into the convolutions by `models.folding.fold`.
    """
    replicated, split = PartitionSpec(), PartitionSpec(*devices.axis_names)
    # Without check_vma, as kernels do not say over which devices their results differ.
    on_each = jax.shard_map(
        functools.partial(folding.forward, model),
        mesh=devices,
        in_specs=(replicated, split, split),
        out_specs=split,
        check_vma=False,
    )
    return on_each(folded, images, sizes)
