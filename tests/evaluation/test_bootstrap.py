"""Resamples keep the number of images of each label, and intervals hold the truth as often as they claim."""

import numpy as np
import pytest

from lfm_jax.evaluation.bootstrap import interval, resamples
from lfm_jax.evaluation.metrics import detection_metrics, weighted_metrics


def test_a_resample_draws_as_many_reals_and_fakes_as_the_set_has():
    labels = np.array([0, 1, 1, 0, 1, 1, 1])
    weights = resamples(labels, name="a", replicates=200)
    assert (weights[:, labels == 0].sum(1) == 2).all()
    assert (weights[:, labels == 1].sum(1) == 5).all()
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.25)  # every image about as often
    assert (weights == 0).any(0).all()  # and sometimes not at all


def test_draws_depend_only_on_the_name_and_the_seed():
    labels = np.array([0, 1] * 10)
    first = resamples(labels, name="progan", replicates=5)
    np.testing.assert_array_equal(first, resamples(labels, name="progan", replicates=5))
    assert (first != resamples(labels, name="biggan", replicates=5)).any()
    assert (first != resamples(labels, name="progan", replicates=5, seed=1)).any()


def test_an_interval_is_the_middle_of_the_resamples():
    assert interval(np.arange(1001.0), 500.0) == pytest.approx((25, 975))
    assert interval(np.array([1.0, np.nan]), 1.0) is None


def test_intervals_hold_the_truth_about_95_times_in_100():
    """300 sets of 120 reals at N(-1, 1) and 120 fakes at N(1, 1); the truth from 400,000 of each."""
    rng, names, sets = np.random.default_rng(7), ("acc", "real_acc", "ap", "auc", "brier"), 300

    def draw(n):
        return np.repeat([0, 1], n), np.concatenate([rng.normal(-1, 1, n), rng.normal(1, 1, n)])

    truth, held = detection_metrics(*draw(400_000)), dict.fromkeys(names, 0)
    for number in range(sets):
        labels, logits = draw(120)
        values = weighted_metrics(labels, logits, resamples(labels, name=str(number), replicates=200))
        for name in names:
            low, high = interval(values[name], float(np.median(values[name])))
            held[name] += low <= truth[name] <= high
    for name, count in held.items():  # allowing for chance over 300 sets, and for the bias of small ones
        assert 0.91 <= count / sets <= 0.98, name


@pytest.mark.parametrize("undefined", [np.nan, np.inf])
def test_one_undefined_resample_in_a_thousand_leaves_no_interval(undefined):
    values = np.linspace(0.4, 0.6, 1000)
    assert interval(values, 0.5) is not None
    values[500] = undefined
    assert interval(values, 0.5) is None
