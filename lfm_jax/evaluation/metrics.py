"""Detection metrics from labels and logits, for one set of images or for many weightings of it at once.

In: labels {0 real, 1 fake} [N], logits [N]. Out: shares of 1. Every metric is defined for weighted images, so
that a bootstrap is one call with a row of weights for each resample; scikit-learn's metrics are the tests' yardstick.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lfm_jax.weights.score import is_fake, sigmoid

# acc, real_acc and fake_acc are at score 0.5, as published; acc_at_threshold is at the weights' own threshold.
METRICS = (
    *("acc", "acc_at_threshold", "real_acc", "fake_acc", "ap", "auc"),
    *("eer", "tpr_at_1_fpr", "tpr_at_5_fpr", "brier", "ece", "loss"),
)
ECE_BINS = 15  # of equal width
ELEMENTS_AT_ONCE = 1 << 21  # of weightings x images, to bound the memory


def detection_metrics(
    labels: Sequence[Any] | np.ndarray, logits: Sequence[Any] | np.ndarray, *, threshold: float = 0.5, temperature: float = 1.0
) -> dict[str, Any]:
    """labels [N], logits [N] -> n_real, n_fake and METRICS as plain numbers.

    The score is the sigmoid of logit / temperature. A metric that its images do not define (real_acc without
    real images, ap with one label only) is None.
    """
    truth = np.asarray(labels, int)
    values = weighted_metrics(truth, logits, np.ones((1, truth.size)), threshold=threshold, temperature=temperature)
    counts = {"n_real": int((truth == 0).sum()), "n_fake": int((truth == 1).sum())}
    return counts | {name: plain(value[0]) for name, value in values.items()}


def plain(value: float) -> float | None:
    """NaN, which JSON does not have -> None."""
    return None if np.isnan(value) else float(value)


def weighted_metrics(
    labels: npt.ArrayLike, logits: npt.ArrayLike, weights: np.ndarray, *, threshold: float = 0.5, temperature: float = 1.0
) -> dict[str, np.ndarray]:
    """labels [N], logits [N], weights [R, N] of at least 0 -> METRICS, each [R]; NaN where undefined."""
    truth, given = np.asarray(labels, bool), np.asarray(logits, np.float64)
    order = np.argsort(-given, kind="stable")
    truth, given = truth[order], given[order] / temperature
    rows = max(ELEMENTS_AT_ONCE // max(truth.size, 1), 1)
    parts = [
        _metrics(truth, given, weights[start : start + rows][:, order].astype(np.float64), threshold)
        for start in range(0, len(weights), rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}


@np.errstate(divide="ignore", invalid="ignore")  # 0 / 0 is what "undefined" comes out of
def _metrics(fake: np.ndarray, logits: np.ndarray, weights: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    """Images in descending order of their logits."""
    total, on_fake, on_real = weights.sum(1), weights @ fake, weights @ ~fake
    right, right_at_threshold = (is_fake(logits, at) == fake for at in (0.5, threshold))
    scores = sigmoid(logits)
    means = {
        "acc": weights @ right / total,
        "acc_at_threshold": weights @ right_at_threshold / total,
        "real_acc": weights @ (right & ~fake) / on_real,
        "fake_acc": weights @ (right & fake) / on_fake,
        "brier": weights @ (scores - fake) ** 2 / total,
        "loss": weights @ np.logaddexp(0.0, np.where(fake, -logits, logits)) / total,
        "ece": _ece(fake, scores, weights) / total,
    }
    return means | _ranked(fake, logits, weights)


def _ece(fake: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum over the bins of |fakes there - fakes expected there by score|."""
    bins = np.minimum((scores * ECE_BINS).astype(int), ECE_BINS - 1)
    return np.abs((weights * (fake - scores)) @ np.eye(ECE_BINS)[bins]).sum(1)


def _ranked(fake: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """What depends on the order alone. Images of one logit move together: a point of the curves is a distinct logit."""
    ends = np.flatnonzero(np.diff(logits, append=np.nan) != 0)
    caught, wrong = (np.cumsum(weights * kind, 1)[:, ends] for kind in (fake, ~fake))  # fakes found, reals accused
    caught, wrong = (np.pad(curve, ((0, 0), (1, 0))) for curve in (caught, wrong))
    tpr, fpr = caught / caught[:, -1:], wrong / wrong[:, -1:]
    precision = np.nan_to_num(caught / (caught + wrong))  # 0 / 0 where nothing is called fake yet: its recall step is 0, too
    ap = (np.diff(tpr, axis=1) * precision[:, 1:]).sum(1)
    auc = (np.diff(fpr, axis=1) * (tpr[:, 1:] + tpr[:, :-1])).sum(1) / 2
    undefined = (caught[:, -1] == 0) | (wrong[:, -1] == 0)
    ranked = {"ap": ap, "auc": auc, "eer": _eer(tpr, fpr)}
    ranked |= {f"tpr_at_{percent}_fpr": _tpr_at(tpr, fpr, percent / 100) for percent in (1, 5)}
    return {name: np.where(undefined, np.nan, value) for name, value in ranked.items()}


def _eer(tpr: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """Where the shares of accused reals and of missed fakes cross, between two points of the curve."""
    gap = fpr - (1 - tpr)  # from -1 up to 1
    after = np.maximum((gap < 0).sum(1, keepdims=True), 1).clip(max=gap.shape[1] - 1)
    (gap_before, gap_after), (low, high) = ([np.take_along_axis(c, i, 1)[:, 0] for i in (after - 1, after)] for c in (gap, fpr))
    return low + (high - low) * gap_before / (gap_before - gap_after)


def _tpr_at(tpr: np.ndarray, fpr: np.ndarray, most: float) -> np.ndarray:
    """Largest share of fakes found with at most that share of reals accused."""
    return np.take_along_axis(tpr, np.maximum((fpr <= most).sum(1, keepdims=True) - 1, 0), 1)[:, 0]
