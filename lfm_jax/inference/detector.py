"""The detector in Python: weights in, predictions out, for arrays, PIL images and files.

det = lfm_jax.load("lfm_bs_model.pth")
det("photo.png").score
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from lfm_jax.data import protocols
from lfm_jax.data.images import as_rgb
from lfm_jax.errors import UserError
from lfm_jax.inference import predict
from lfm_jax.inference.explanation import Explanation, explain_image
from lfm_jax.inference.network import Network
from lfm_jax.inference.predict import Predictions
from lfm_jax.inference.prediction import Failure, Prediction

__all__ = ["Detector", "Explanation", "Failure", "Prediction", "load"]


class Detector(Network):
    """A network with its weights on the devices of this process, and what people ask of it."""

    def __call__(self, image: Any, *, protocol: str | None = None) -> Prediction:
        """Path, PIL image or array [H, W, 3] uint8 -> Prediction under `protocol` (the card's where None).

        Raises:
          ImageError: the file cannot be decoded.
          ValueError: no such protocol, no image, or one too small for the network.
        """
        protocol = protocol or self.card.protocol
        image = as_rgb(image)
        how = protocols.parse(protocol)
        logit = how.logit(self.logits(how(image)))
        return Prediction.of(logit, self.card, protocol=protocol, width=image.width, height=image.height)

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
        if isinstance(images, (str, os.PathLike)):
            raise UserError(
                f"batches({os.fspath(images)!r}): expected several images; a folder's are scored by predict_folder(...)"
            )
        protocol = protocols.parse(protocol or self.card.protocol).name
        return predict.predict_stream(self, images, protocol=protocol, batch_size=batch_size, threads=threads)

    def predict_folder(
        self, folder: str | os.PathLike[str], *, protocol: str | None = None, batch_size: int = 32, threads: int = 8
    ) -> Predictions:
        """All images below `folder`, as `lfm predict` has them -> records; `.errors` are those that could not be scored.

        `pandas.DataFrame` takes what it returns; notebooks show it as a table.

        Raises:
          UserError: no such folder, no image file in it, or no such protocol.
        """
        return predict.predict_folder(self, folder, protocol=protocol, batch_size=batch_size, threads=threads)

    def explain(self, image: Any, *, protocol: str | None = None) -> Explanation:
        """As calling it, and where the logit came from: see `lfm_jax.inference.explanation`. Notebooks show it as a picture."""
        return explain_image(self, image, protocol=protocol)


def load(path: str | os.PathLike[str]) -> Detector:
    """.pth, .safetensors, workdir or checkpoint directory -> Detector. Raises WeightsError."""
    return Detector.load(path)
