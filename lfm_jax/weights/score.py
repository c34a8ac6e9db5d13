"""From a logit to a score in [0, 1], and to a decision at a threshold."""

import numpy as np
import numpy.typing as npt


def sigmoid(logits: npt.ArrayLike) -> np.ndarray:
    """Score in [0, 1] that an image is fake; no overflow at large logits."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def is_fake(logits: npt.ArrayLike, threshold: float) -> np.ndarray:
    """Whether the score is above `threshold`, compared as logits: confident scores round to the same float."""
    return np.asarray(logits, np.float64) > np.log(threshold / (1.0 - threshold))
