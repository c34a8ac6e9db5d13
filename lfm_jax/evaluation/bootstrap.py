"""Uncertainty of metrics by resampling images: stratified by label, seeded, all resamples at once."""

import zlib

import numpy as np

REPLICATES = 1000
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
    rng = np.random.default_rng((seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))))
    weights = np.zeros((replicates, len(labels)), np.int32)
    rows = np.arange(replicates)[:, None]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        np.add.at(weights, (rows, members[rng.integers(len(members), size=(replicates, len(members)))]), 1)
    return weights


def interval(values: np.ndarray) -> list[float] | None:
    """A metric's values over the resamples [R] -> the middle 95 % of them; None if any is undefined."""
    if np.isnan(values).any():
        return None
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return [float(low), float(high)]
