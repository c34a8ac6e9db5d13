"""The detector in Python: weights in, logits out, for arrays, PIL images and files.

    det = lfm_jax.load("lfm_bs_model.pth")
    det("photo.png").score

A batch is split over the devices of this process.
"""

import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from PIL import Image

from lfm_jax import convert, mesh, models
from lfm_jax.card import Card, content_hash
from lfm_jax.data import protocols
from lfm_jax.data.images import decode
from lfm_jax.errors import UserError
from lfm_jax.models import Lfm, inference

if TYPE_CHECKING:
    from lfm_jax.explanation import Explanation
    from lfm_jax.predictions import Predictions


@dataclass(frozen=True)
class Prediction:
    """`score` in [0, 1] that the image is fake; `label` is "fake" where it is above `threshold`."""

    logit: float
    score: float
    label: str
    threshold: float
    protocol: str
    width: int
    height: int

    def _repr_html_(self) -> str:
        """For notebooks."""
        from lfm_jax.predictions import prediction_html

        return prediction_html(self)


@dataclass(frozen=True)
class Failure:
    """An image that could not be scored, in its place among predictions, and why."""

    error: str


class Detector:
    """A network with its weights on the devices of this process; the batch is split over them."""

    def __init__(self, model: Lfm, variables: dict[str, Any], card: Card):
        self.model = model
        self.card = dataclasses.replace(card, weights_sha256=content_hash(variables))
        self._mesh = mesh.data_mesh(jax.local_devices())
        self.variables = jax.device_put(variables, mesh.replicated(self._mesh))

    @functools.cached_property
    def _folded(self) -> Any:
        return jax.device_put(inference.fold(self.model, self.variables), mesh.replicated(self._mesh))

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
        images = _checked_pixels(images)
        if sizes is None:
            sizes = np.tile(np.asarray(images.shape[1:3], np.int32), (len(images), 1))
        sizes = np.asarray(sizes, np.int32)
        for height, width in np.unique(sizes, axis=0):
            self.model.require_size(int(height), int(width))
        rest = -len(images) % self._mesh.size
        images, sizes = (np.concatenate([array, array[:1].repeat(rest, 0)]) if rest else array for array in (images, sizes))
        batch = jax.device_put((images, sizes), mesh.split_batch(self._mesh))
        return forward(self.model, self._mesh, self._folded, *batch)

    def __call__(self, image: Any, *, protocol: str | None = None) -> Prediction:
        """Path, PIL image or array [H, W, 3] uint8 -> Prediction under `protocol` (the card's where None).

        Raises:
          ImageError: the file cannot be decoded.
          ValueError: no such protocol, no image, or one too small for the network.
        """
        protocol = protocol or self.card.protocol
        image = as_rgb(image)
        how = protocols.parse(protocol)
        return self.prediction(how.logit(self.logits(how(image))), protocol, *image.size)

    def batches(
        self, images: Iterable[Any], *, protocol: str | None = None, batch_size: int = 32, threads: int = 8
    ) -> Iterator[Prediction | Failure]:
        """Paths, PIL images or arrays [H, W, 3] uint8, however many -> as calling it with each, in their order, but faster.

        They are decoded ahead by threads and scored in batches; no more are held than that takes, so `images` may be a
        generator without end. An image that cannot be scored gives a `Failure` in its place.

        Raises:
          UserError: one path in place of many images, or no such protocol.
          ValueError: an array of another shape or dtype.
        """
        from lfm_jax.predict import predict_stream  # which builds on this module

        if isinstance(images, (str, os.PathLike)):
            raise UserError(
                f"batches({os.fspath(images)!r}): expected several images; a folder's are scored by predict_folder(...)"
            )
        protocol = protocols.parse(protocol or self.card.protocol).name
        return predict_stream(self, images, protocol=protocol, batch_size=batch_size, threads=threads)

    def predict_folder(
        self, folder: str | os.PathLike[str], *, protocol: str | None = None, batch_size: int = 32, threads: int = 8
    ) -> "Predictions":
        """All images below `folder`, as `lfm predict` has them -> records; `.errors` are those that could not be scored.

        `pandas.DataFrame` takes what it returns; notebooks show it as a table.

        Raises:
          UserError: no such folder, no image file in it, or no such protocol.
        """
        from lfm_jax.predictions import predict_folder

        return predict_folder(self, folder, protocol=protocol, batch_size=batch_size, threads=threads)

    def explain(self, image: Any, *, protocol: str | None = None) -> "Explanation":
        """As calling it, and where the logit came from: see `lfm_jax.explanation`. Notebooks show it as a picture."""
        from lfm_jax.explanation import explain_image  # which builds on this module

        return explain_image(self, image, protocol=protocol)

    def prediction(self, logit: float, protocol: str, width: int, height: int) -> Prediction:
        """A logit with what the card makes of it."""
        label = "fake" if self.card.is_fake(logit) else "real"
        return Prediction(logit, self.card.score(logit), label, self.card.threshold, protocol, width, height)


def load(path: str | os.PathLike[str]) -> Detector:
    """.pth, .safetensors, workdir or checkpoint directory -> Detector. Raises WeightsError."""
    weights = convert.load(path)
    return Detector(models.build(weights.card.model_config()), weights.variables, weights.card)


# One compilation per model and batch shape, shared by all detectors.
@functools.partial(jax.jit, static_argnums=(0, 1))
def forward(model: Lfm, devices: Mesh, folded: Any, images: jax.Array, sizes: jax.Array) -> jax.Array:
    """images uint8 [B, H, W, 3], sizes [B, 2], split over `devices` -> logits float32 [B]; `folded` by `inference.fold`."""
    own, split = PartitionSpec(), PartitionSpec(*devices.axis_names)
    each = jax.shard_map(functools.partial(inference.forward, model), mesh=devices, in_specs=(own, split, split), out_specs=split)
    return each(folded, images, sizes)


def _checked_pixels(images: Any) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"expected images as uint8 [B, H, W, 3], got {images.dtype} {list(images.shape)}"
            + (": pixel values are 0..255, not scaled" if np.issubdtype(images.dtype, np.floating) else "")
        )
    return images


def as_rgb(image: Any) -> Image.Image:
    """Path, PIL image or array [H, W, 3] uint8 -> RGB image. Raises ImageError, or ValueError for another shape or dtype."""
    if isinstance(image, (str, Path, os.PathLike)):
        return decode(image)
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    pixels = _checked_pixels(np.asarray(image)[None])
    return Image.fromarray(pixels[0])
