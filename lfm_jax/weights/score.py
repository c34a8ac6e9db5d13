"""Turns a logit into a score in [0, 1], and into a decision at a threshold."""

import numpy as np
import numpy.typing as npt


def sigmoid(logits: npt.ArrayLike) -> np.ndarray:
    """The score in [0, 1] that an image is fake. Large logits do not overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def is_fake(logits: npt.ArrayLike, threshold: float) -> np.ndarray:
    """Whether the score is above `threshold`. They are compared as logits, as confident scores round to the same float."""
    return np.asarray(logits, np.float64) > np.log(threshold / (1.0 - threshold))
