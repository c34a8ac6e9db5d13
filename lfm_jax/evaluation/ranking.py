"""The arithmetic behind the built-in metrics: labelled images in descending order of their logits, under many weightings."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lfm_jax.weights.score import is_fake, sigmoid

ECE_BINS = 15  # of equal width


class Curve(NamedTuple):
    """Cumulative weights down the ranking, each [R, P + 1]: of the fakes found and of the reals accused.

    A point is a distinct logit, since images of one logit move together; the first point is before any image.
    """

    found: np.ndarray
    accused: np.ndarray


@dataclass(frozen=True)
class Ranking:
    """N images in descending order of their logits, under R weightings. What several metrics need is computed once.

    Attributes:
      labels: [N] bool, True is fake.
      logits: [N] float64; the score is their sigmoid.
      weights: [R, N] float64 of at least 0.
      threshold: the weights' own, on the score.

    Every method returns one value per weighting, [R], NaN where the weighted images do not define it.
    """

    labels: np.ndarray
    logits: np.ndarray
    weights: np.ndarray
    threshold: float

    @cached_property
    def total(self) -> np.ndarray:
        return self.weights.sum(1)

    @cached_property
    def scores(self) -> np.ndarray:
        return sigmoid(self.logits)

    @cached_property
    def curve(self) -> Curve:
        ends = np.flatnonzero(np.diff(self.logits, append=np.nan) != 0)
        sums = (np.cumsum(self.weights * kind, 1)[:, ends] for kind in (self.labels, ~self.labels))
        return Curve(*(np.pad(points, ((0, 0), (1, 0))) for points in sums))

    @cached_property
    def tpr(self) -> np.ndarray:
        """[R, P + 1]: share of the fakes found."""
        return self.curve.found / self.curve.found[:, -1:]

    @cached_property
    def fpr(self) -> np.ndarray:
        """[R, P + 1]: share of the reals accused."""
        return self.curve.accused / self.curve.accused[:, -1:]

    def accuracy(self, threshold: float) -> np.ndarray:
        return self.weights @ self._correct(threshold) / self.total

    def real_accuracy(self) -> np.ndarray:
        return self.weights @ (self._correct(0.5) & ~self.labels) / (self.weights @ ~self.labels)

    def fake_accuracy(self) -> np.ndarray:
        return self.weights @ (self._correct(0.5) & self.labels) / (self.weights @ self.labels)

    def brier(self) -> np.ndarray:
        return self.weights @ (self.scores - self.labels) ** 2 / self.total

    def negative_log_likelihood(self) -> np.ndarray:
        return self.weights @ np.logaddexp(0.0, np.where(self.labels, -self.logits, self.logits)) / self.total

    def calibration_error(self) -> np.ndarray:
        """Sum over the bins of |fakes there - fakes expected there by score|, per image."""
        bins = np.minimum((self.scores * ECE_BINS).astype(int), ECE_BINS - 1)
        return np.abs((self.weights * (self.labels - self.scores)) @ np.eye(ECE_BINS)[bins]).sum(1) / self.total

    def average_precision(self) -> np.ndarray:
        found, accused = self.curve
        precision = np.nan_to_num(found / (found + accused))  # 0 / 0 before anything is called fake, where recall stands still
        return self._with_both_labels((np.diff(self.tpr, axis=1) * precision[:, 1:]).sum(1))

    def area_under_roc(self) -> np.ndarray:
        steps, heights = np.diff(self.fpr, axis=1), self.tpr[:, 1:] + self.tpr[:, :-1]
        return self._with_both_labels((steps * heights).sum(1) / 2)

    def equal_error_rate(self) -> np.ndarray:
        """Where the shares of accused reals and of missed fakes cross, interpolated between two points of the curve."""
        gap = self.fpr - (1 - self.tpr)  # rises from -1 to 1
        after = np.maximum((gap < 0).sum(1, keepdims=True), 1).clip(max=gap.shape[1] - 1)
        (gap_before, gap_after), (low, high) = (
            [np.take_along_axis(values, place, 1)[:, 0] for place in (after - 1, after)] for values in (gap, self.fpr)
        )
        return self._with_both_labels(low + (high - low) * gap_before / (gap_before - gap_after))

    def found_at(self, false_alarms: float) -> np.ndarray:
        """Largest share of fakes found with at most that share of reals accused."""
        last = np.maximum((self.fpr <= false_alarms).sum(1, keepdims=True) - 1, 0)
        return self._with_both_labels(np.take_along_axis(self.tpr, last, 1)[:, 0])

    def _correct(self, threshold: float) -> np.ndarray:
        return is_fake(self.logits, threshold) == self.labels

    def _with_both_labels(self, values: np.ndarray) -> np.ndarray:
        """NaN where the weighted images are of one label only."""
        one_label = (self.curve.found[:, -1] == 0) | (self.curve.accused[:, -1] == 0)
        return np.where(one_label, np.nan, values)
