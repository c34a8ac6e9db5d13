"""Does an exported file compute what the detector computes? Asked on noise and on drawn photographs, real and fake.

In: a way to score with the file, a Detector, the side that the file is for. Out: the largest difference, or an error.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lfm_jax.data import synthetic
from lfm_jax.errors import ParityError
from lfm_jax.inference.detector import Detector
from lfm_jax.models import Lfm

Scorer = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] -> logits float32 [N]

ABSOLUTE, RELATIVE = 1e-4, 1e-5  # of a logit


class Parity(NamedTuple):
    """`images` were compared; `largest` is the largest |difference| of their logits."""

    images: int
    largest: float


def check(score: Scorer, detector: Detector, side: int) -> Parity:
    """Raises ParityError: a logit differs by more than ABSOLUTE + RELATIVE * |logit|, or has another shape or dtype."""
    count, largest = 0, 0.0
    for images in batches(detector.model, side):
        expected, found = detector.logits(images), score(images)
        what = f"{len(images)} images of {images.shape[2]} x {images.shape[1]} px"
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise ParityError(f"{what} gave {found.dtype} {list(found.shape)}, expected {expected.dtype} {list(expected.shape)}")
        differences = np.abs(found - expected)
        if not np.all(differences <= ABSOLUTE + RELATIVE * np.abs(expected)):  # so that nan is too large
            raise ParityError(
                f"{what} gave logits {differences.max():.1e} off the detector's, allowed is {ABSOLUTE:g} + {RELATIVE:g} |logit|: "
                "nothing was exported"
            )
        count, largest = count + len(images), max(largest, float(differences.max()))
    return Parity(count, largest)


def batches(model: Lfm, side: int) -> Iterator[np.ndarray]:
    """Batches of one image and of several; where `side` is 0, of several sizes, an odd one and the smallest among them."""
    least = model.smallest_side
    shapes = [(1, side, side), (4, side, side)] if side else [(1, 256, 256), (4, 225, 318), (2, least, least)]
    for count, height, width in shapes:
        yield np.stack([_image(index, max(height, least), max(width, least)) for index in range(count)])


def _image(index: int, height: int, width: int) -> np.ndarray:
    """Noise, a real and a fake in turn."""
    if index % 3 == 1:
        return np.random.default_rng((index, height, width)).integers(0, 256, (height, width, 3), np.uint8)
    drawn, _, _ = synthetic.example(0, "test", index // 3 * 2 + index % 3 // 2, max(height, width, synthetic.MIN_SIDE))
    return drawn[:height, :width]
