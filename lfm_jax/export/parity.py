"""Does an exported file compute what the network computes? Asked on noise and on drawn images, real and fake."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lfm_jax.data import synthetic
from lfm_jax.errors import ParityError
from lfm_jax.inference.network import Network
from lfm_jax.models import Lfm

Scorer = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] -> logits float32 [N]

ABSOLUTE, RELATIVE = 1e-4, 1e-5  # difference of a logit that is allowed


class Parity(NamedTuple):
    """How many images were compared, and the largest |difference| of their logits."""

    images: int
    largest: float


def check_parity(score: Scorer, network: Network, side: int) -> Parity:
    """Compare the logits that `score` gives with the network's.

    Args:
      side: that the file was made for; 0 for any.

    Raises:
      ParityError: a logit differs by more than ABSOLUTE + RELATIVE * |logit|, or the shape or dtype is another one.
    """
    count, largest = 0, 0.0
    for images in batches(network.model, side):
        expected, logits = network.logits(images), score(images)
        batch = f"{len(images)} images of {images.shape[2]} x {images.shape[1]} px"
        if logits.shape != expected.shape or logits.dtype != expected.dtype:
            raise ParityError(f"{batch} gave {logits.dtype} {list(logits.shape)}, expected {expected.dtype} {list(expected.shape)}")
        differences = np.abs(logits - expected)
        if not np.all(differences <= ABSOLUTE + RELATIVE * np.abs(expected)):  # put so that NaN is too large
            raise ParityError(
                f"{batch} gave logits that differ by {differences.max():.1e} from the detector's, more than the allowed "
                f"{ABSOLUTE:g} + {RELATIVE:g} |logit|: nothing was exported"
            )
        count, largest = count + len(images), max(largest, float(differences.max()))
    return Parity(count, largest)


def batches(model: Lfm, side: int) -> Iterator[np.ndarray]:
    """A batch of one image and a batch of several; if `side` is 0, of several sizes, with odd ones and the smallest possible."""
    least = model.smallest_side
    shapes = [(1, side, side), (4, side, side)] if side else [(1, 256, 256), (4, 225, 318), (2, least, least)]
    for count, height, width in shapes:
        yield np.stack([_image(index, max(height, least), max(width, least)) for index in range(count)])


def _image(index: int, height: int, width: int) -> np.ndarray:
    """In turn a real image, noise, and a fake image."""
    if index % 3 == 1:
        return np.random.default_rng((index, height, width)).integers(0, 256, (height, width, 3), np.uint8)
    pixels, _, _ = synthetic.example(0, "test", index // 3 * 2 + index % 3 // 2, max(height, width, synthetic.MIN_SIDE))
    return pixels[:height, :width]
