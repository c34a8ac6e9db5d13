"""Detection metrics from labels and logits, by scikit-learn. numpy in, plain floats out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

METRICS = ("acc", "real_acc", "fake_acc", "ap")


def sigmoid(logits: npt.ArrayLike) -> np.ndarray:
    """Score in [0, 1] that an image is fake; no overflow at large logits."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def is_fake(logits: npt.ArrayLike, threshold: float) -> np.ndarray:
    """Whether the score is above `threshold`, compared as logits: confident scores round to the same float."""
    return np.asarray(logits, np.float64) > np.log(threshold / (1.0 - threshold))


def detection_metrics(labels: Sequence[Any], logits: Sequence[Any], *, threshold: float = 0.5) -> dict[str, float | None]:
    """labels [N] in {0 real, 1 fake}, logits [N] -> n_real, n_fake, acc, real_acc, fake_acc, ap, loss.

    Accuracies call an image fake where its score is above `threshold`. A metric that its images do not
    define (real_acc without real images, ap with one label only) is None.
    """
    from sklearn.metrics import average_precision_score, log_loss  # here, as it takes seconds to load

    truth, scores = np.asarray(labels, int), sigmoid(np.asarray(logits, np.float64))
    called_fake = is_fake(np.asarray(logits, np.float64), threshold)
    right = called_fake == truth
    real, fake = truth == 0, truth == 1
    both = real.any() and fake.any()
    return {
        "n_real": int(real.sum()),
        "n_fake": int(fake.sum()),
        "acc": float(right.mean()) if truth.size else None,
        "real_acc": float(right[real].mean()) if real.any() else None,
        "fake_acc": float(right[fake].mean()) if fake.any() else None,
        "ap": float(average_precision_score(truth, logits)) if both else None,
        "loss": float(log_loss(truth, np.clip(scores, 1e-15, 1 - 1e-15), labels=[0, 1])) if truth.size else None,
    }


def mean_of(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Unweighted mean of each metric over the rows that define it."""
    means = {}
    for name in METRICS:
        values = [value for row in rows if (value := row[name]) is not None]
        means[name] = float(np.mean(values)) if values else None
    return means
