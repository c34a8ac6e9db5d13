"""Reals and fakes counted by their logits: sums of parts are exact, and resamples cost the same for any number of images.

Every metric takes weighted images, so that of a histogram is the same code with counts as weights.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from lfm_jax.evaluation.bootstrap import REPLICATES, drawn_one_by_one
from lfm_jax.evaluation.metrics import weighted_metrics
from lfm_jax.evaluation.ranking import ECE_BINS
from lfm_jax.weights.score import is_fake, sigmoid

BINS = 1000  # of which each holds no larger share of the reals, and of the fakes


@dataclass(frozen=True)
class Histogram:
    """How many reals and fakes there are of each logit.

    Attributes:
      logits: [P], ascending, each once.
      counts: [P, 2], of the reals and of the fakes.
    """

    logits: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, labels: npt.ArrayLike, logits: npt.ArrayLike) -> Self:
        """labels [N], 0 real and 1 fake, and logits [N]."""
        fake = np.asarray(labels, np.int64)
        return cls._summed(np.asarray(logits, np.float64), np.stack([1 - fake, fake], -1))

    def __add__(self, other: Self) -> Self:
        """The histogram of the images of both, exactly."""
        return self._summed(np.concatenate([self.logits, other.logits]), np.concatenate([self.counts, other.counts]))

    @classmethod
    def _summed(cls, logits: np.ndarray, counts: np.ndarray) -> Self:
        distinct, places = np.unique(logits, return_inverse=True)
        sums = np.zeros((len(distinct), 2), np.int64)
        np.add.at(sums, places, counts)
        return cls(distinct, sums)

    def metrics(
        self, weights: np.ndarray | None = None, /, *, threshold: float = 0.5, temperature: float = 1.0
    ) -> dict[str, np.ndarray]:
        """Every metric, each [R], under weights [R, P, 2] in place of the counts; the rest as of `weighted_metrics`."""
        weights = self.counts[None] if weights is None else weights
        labels, logits = np.tile([0, 1], len(self.logits)), np.repeat(self.logits, 2)
        return weighted_metrics(labels, logits, weights.reshape(len(weights), -1), threshold=threshold, temperature=temperature)

    def binned(self, **options: float) -> Self:
        """The images of each bin at their mean logit; see `starts`."""
        starts = self.starts(**options)
        counts = np.add.reduceat(self.counts, starts)
        means = np.add.reduceat(self.logits * self.counts.sum(1), starts) / counts.sum(1)
        ends = np.r_[starts[1:], len(self.logits)] - 1
        return type(self)(means.clip(self.logits[starts], self.logits[ends]), counts)

    def starts(self, *, threshold: float = 0.5, temperature: float = 1.0) -> np.ndarray:
        """The places of the logits with which the bins begin.

        A bin holds at most a BINSth of the reals and of the fakes, or one logit, and lies on one side of the thresholds and in
        one bin of the calibration error. So accuracies stay exact, and AUC changes by at most 1 / (2 * BINS): half of the pairs
        of a real and a fake that share a bin.
        """
        below = np.cumsum(self.counts, 0) - self.counts
        totals = np.maximum(self.counts.sum(0), 1)
        shares = np.ceil(BINS * (below + self.counts) / totals) + (below == totals)  # so that perfect rankings stay perfect
        scaled = self.logits / temperature
        sides = [is_fake(scaled, 0.5), is_fake(scaled, threshold), np.floor(ECE_BINS * sigmoid(scaled))]
        keys = np.column_stack([shares, *sides])
        return np.flatnonzero(np.r_[True, (np.diff(keys, axis=0) != 0).any(1)])

    def resamples(self, *, name: str, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
        """Draws as many images as there are, as `bootstrap.resamples` does, but tells apart only those of different logits.

        Returns:
          Counts [R, P, 2], distributed as the sums over the images of each logit would be; the draws are others.
        """
        rng = np.random.default_rng((seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))))
        drawn = [rng.multinomial(of.sum(), of / max(of.sum(), 1), size=replicates) for of in self.counts.T]
        return np.stack(drawn, -1)


def binned_resamples(
    histogram: Histogram, point: Mapping[str, float | None], *, name: str, **options: float
) -> dict[str, np.ndarray]:
    """Each metric over the resamples [R], from bins. What the bins change in the metric itself, `point`, is taken off again."""
    bins = histogram.binned(**options)
    return _resampled(bins, bins.resamples(name=name), point, options)


def paired_resamples(
    labels: np.ndarray,
    sides: Sequence[tuple[np.ndarray, Mapping[str, float | None], Mapping[str, float]]],
    *,
    name: str,
) -> list[dict[str, np.ndarray]]:
    """`binned_resamples` of several detectors on the same images, of which each resample draws the same for all.

    Args:
      labels: [N].
      sides: of each detector the logits [N], the metrics, and its threshold and temperature.
    """
    bins, places = list[Histogram](), list[np.ndarray]()
    for logits, _, options in sides:
        histogram = Histogram.of(labels, logits)
        bins.append(histogram.binned(**options))
        places.append(np.searchsorted(histogram.logits[histogram.starts(**options)], logits, side="right") - 1)
    counts = [np.zeros((REPLICATES, len(one.logits), 2), np.int32) for one in bins]
    for replicate, drawn in enumerate(drawn_one_by_one(labels, name=name)):
        for label, members in enumerate(drawn):
            for counted, place in zip(counts, places, strict=True):
                counted[replicate, :, label] = np.bincount(place[members], minlength=counted.shape[1])
    return [_resampled(one, drawn, point, options) for one, drawn, (_, point, options) in zip(bins, counts, sides, strict=True)]


def _resampled(
    bins: Histogram, counts: np.ndarray, point: Mapping[str, float | None], options: Mapping[str, float]
) -> dict[str, np.ndarray]:
    itself, resampled = bins.metrics(**options), bins.metrics(counts, **options)
    return {metric: _moved(values, itself[metric][0], point[metric]) for metric, values in resampled.items()}


def _moved(values: np.ndarray, binned: float, exact: float | None) -> np.ndarray:
    if exact is None:
        return values
    is_share = 0 <= exact <= 1 and values.min() >= 0 and values.max() <= 1
    moved = values + (exact - binned)
    return moved.clip(0, 1) if is_share else moved
