"""Uncertainty of metrics by resampling images: stratified by label, seeded, all resamples at once."""

import zlib
from collections.abc import Iterator

import numpy as np

REPLICATES = 1000
EXACT_UP_TO = 20_000  # images; more are resampled in bins, which the row says, or one by one: other draws, and little memory
PARTS = 10  # so that 1000 weights of each of 100,000 images need not be held at once
LEVEL = 0.95


def resamples(labels: np.ndarray, *, name: str, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """Draws as many images as there are, with replacement, reals among reals and fakes among fakes.

    Args:
      labels: [N].
      name: of the set of images. The same name gives the same draws, so that two detectors are compared on the same
        resamples; another name gives other draws.

    Returns:
      Weights [R, N]: how often each image was drawn (see `metrics.weighted_metrics`).
    """
    rng = _rng(name, seed)
    weights = np.zeros((replicates, len(labels)), np.int32)
    rows = np.arange(replicates)[:, None]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        np.add.at(weights, (rows, members[rng.integers(len(members), size=(replicates, len(members)))]), 1)
    return weights


def drawn_one_by_one(
    labels: np.ndarray, *, name: str, replicates: int = REPLICATES, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws as `resamples` does, but one resample at a time, and others: the places [N] of the reals drawn, and of the fakes."""
    rng = _rng(name, seed)
    reals, fakes = (np.flatnonzero(labels == label) for label in (0, 1))

    def drawn(members: np.ndarray) -> np.ndarray:
        return members[rng.integers(max(len(members), 1), size=len(members))]

    for _ in range(replicates):
        yield drawn(reals), drawn(fakes)


def _rng(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))))


def resamples_in_parts(labels: np.ndarray, *, name: str) -> Iterator[np.ndarray]:
    """As many resamples as `resamples` draws, but a part of them at a time, and others."""
    for part in range(PARTS):
        yield resamples(labels, name=f"{name}, {part}", replicates=REPLICATES // PARTS)


def interval(values: np.ndarray, estimate: float | None) -> list[float] | None:
    """A metric's values over the resamples [R], and on the images themselves -> the middle 95 % of the former.

    None if any is undefined, and if the estimate lies outside: resamples of a handful of images repeat some of them and
    miss others, which moves a ranking metric to one side: a fake that is drawn twice is ranked beside itself. Such an
    interval says nothing of the estimate.
    """
    if estimate is None or not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    rounding = 1e-9 * max(abs(low), abs(high), abs(estimate))
    return [float(low), float(high)] if low - rounding <= estimate <= high + rounding else None
