"""The detector in Python: weights in, predictions out, for arrays, PIL images and files.

detector = lfm_jax.load("lfm")
detector("photo.png").score
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from lfm_jax.data import protocols
from lfm_jax.data.facts import carried
from lfm_jax.data.provenance import read_image
from lfm_jax.errors import UserError
from lfm_jax.inference import predict
from lfm_jax.inference.batching import require_affordable
from lfm_jax.inference.explanation import Explanation, explain_image
from lfm_jax.inference.network import Network
from lfm_jax.inference.prediction import Failure, Prediction
from lfm_jax.inference.records import Predictions
from lfm_jax.inference.scoring import flatness
from lfm_jax.inference.verdict import Picture

__all__ = ["Detector", "Explanation", "Failure", "Prediction", "load"]


class Detector(Network):
    """A network with the conveniences on top: single images, streams, folders, explanations.

    Every `protocol` argument names how the scored pixels are chosen; None takes the one in the weights' card.
    """

    def __call__(self, image: Any, *, protocol: str | None = None) -> Prediction:
        """Scores a path, PIL image or array uint8 [H, W, 3].

        Raises:
          ImageError: the file cannot be decoded, is too large for the memory here, or the network gives it no finite logit.
          ValueError: no such protocol, not an image, or one too small for the network.
        """
        parsed = protocols.parse(protocol or self.card.protocol)
        image, provenance = read_image(image)
        pieces = parsed(image)
        require_affordable(*pieces.shape[1:3], protocol=parsed.name)
        logit = parsed.logit(self.logits_of_tiles(pieces))
        picture = Picture(image.width, image.height, parsed, flatness(pieces), carried(image))
        return Prediction.of(logit, self.card, picture, provenance=provenance)

    def batches(
        self, images: Iterable[Any], *, protocol: str | None = None, batch_size: int = 32, threads: int = 8
    ) -> Iterator[Prediction | Failure]:
        """Scores many paths, PIL images or arrays uint8 [H, W, 3]: one by one the same answers, in order, but faster.

        Images are decoded ahead by threads and scored in batches. Only as many are held as this needs, so `images` may be
        an endless generator. An image that cannot be scored gives a `Failure` in its place.

        Raises:
          UserError: one path instead of many images, or no such protocol.
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
        """Scores all images below `folder`, as `lfm predict` does.

        Returns:
          A list of records, which `pandas.DataFrame` takes and notebooks show as a table; its `.errors` are the images
          that could not be scored.

        Raises:
          UserError: no such folder, no image file in it, or no such protocol.
        """
        return predict.predict_folder(self, folder, protocol=protocol, batch_size=batch_size, threads=threads)

    def explain(self, image: Any, *, protocol: str | None = None) -> Explanation:
        """Scores an image and shows where its logit came from; notebooks show the answer as a picture.

        See `lfm_jax.inference.explanation`.
        """
        return explain_image(self, image, protocol=protocol)


def load(path: str | os.PathLike[str] | None = None, *, compute_dtype: str = "float32") -> Detector:
    """Reads weights and makes a detector of them.

    Args:
      path: a .pth, a .safetensors, a training workdir or a checkpoint directory; a name that `lfm weights` lists, which is
        fetched at first use; hf://OWNER/NAME; None for the default weights.
      compute_dtype: what to score in, float32 or bfloat16, whatever they were trained in (docs/performance.md).

    Raises:
      WeightsError: there are no such weights, or they cannot be fetched or used.
    """
    return Detector.load(path, compute_dtype=compute_dtype)
