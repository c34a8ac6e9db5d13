"""Calibrating and comparing very many images: the same answers from bins or one resample at a time, in little memory."""

import tracemalloc

import numpy as np
import pytest

from lfm_jax.evaluation import fitting, tables
from lfm_jax.evaluation.bootstrap import resamples
from lfm_jax.evaluation.compare import compare_evaluations, markdown
from lfm_jax.evaluation.fitting import fit
from lfm_jax.evaluation.histogram import paired_resamples
from lfm_jax.evaluation.metrics import detection_metrics, weighted_metrics
from lfm_jax.evaluation.saved import SavedEvaluation, SavedPrediction

OPTIONS = {"threshold": 0.7, "temperature": 2.0}


def drawn_scores(count, seed=0):
    """Labels, and the logits of two detectors that find the same images hard; the second is a little better."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    hardness = rng.normal(size=count)
    first, second = ((strength * (2 * labels - 1) + hardness + rng.normal(0, 0.5, count)) for strength in (1.0, 1.1))
    return labels, first, second


def test_differences_from_bins_spread_as_those_of_images_do():
    labels, *logits = drawn_scores(3000)
    sides = [(one, detection_metrics(labels, one, **OPTIONS), OPTIONS) for one in logits]
    binned = paired_resamples(labels, sides, name="a")
    weights = resamples(labels, name="a")
    exact = [weighted_metrics(labels, one, weights, **OPTIONS) for one in logits]
    for metric in ("acc", "acc_at_threshold", "ap", "auc", "eer", "loss"):
        differences = [values[1][metric] - values[0][metric] for values in (binned, exact)]
        spread, expected = (difference.std() for difference in differences)
        assert spread == pytest.approx(expected, rel=0.12)  # two estimates from 1000 draws differ by 3 % as it is
        assert differences[0].mean() == pytest.approx(differences[1].mean(), abs=0.25 * expected)
        assert metric != "ap" or spread < 0.8 * binned[0][metric].std()  # drawn together, what is hard for both cancels out


def saved(folder, labels, logits):
    predictions = {
        f"{place}.png": SavedPrediction("suite", "gan", int(label), float(logit))
        for place, (label, logit) in enumerate(zip(labels, logits, strict=True))
    }
    condition = ("native", "as_is")
    return SavedEvaluation(folder, "w", "", {"threshold": 0.5, "temperature": 1.0}, {condition: predictions}, {condition: set()})


def test_comparisons_of_very_many_images_say_that_they_are_from_bins(tmp_path, monkeypatch):
    labels, *logits = drawn_scores(400)
    sides = [saved(tmp_path / str(number), labels, one) for number, one in enumerate(logits)]
    exact = compare_evaluations(*sides)
    monkeypatch.setattr(tables, "EXACT_UP_TO", 399)
    binned = compare_evaluations(*sides)
    assert all(row["bootstrap"] == "binned" for row in binned.rows) and "bins of the score" in markdown(binned, ["ap"])
    assert not any("bootstrap" in row for row in exact.rows) and "bins of the score" not in markdown(exact, ["ap"])
    for metric in ("acc", "ap"):
        of_bins, of_images = binned.rows[0][metric], exact.rows[0][metric]
        assert [of_bins[name] for name in ("a", "b", "difference")] == [of_images[name] for name in ("a", "b", "difference")]
        np.testing.assert_allclose(of_bins["interval"], of_images["interval"], atol=0.25 * np.ptp(of_images["interval"]))


@pytest.mark.parametrize("objective", ["accuracy", "balanced", "fpr=0.05"])
def test_a_threshold_has_the_same_interval_when_resamples_are_drawn_one_by_one(objective, monkeypatch):
    labels, logits, _ = drawn_scores(2000)
    whole = fit(labels, logits, objective)
    monkeypatch.setattr(fitting, "EXACT_UP_TO", 0)
    one_by_one = fit(labels, logits, objective)
    assert (one_by_one.threshold, one_by_one.temperature, one_by_one.after) == (whole.threshold, whole.temperature, whole.after)
    np.testing.assert_allclose(one_by_one.interval, whole.interval, atol=0.3 * np.ptp(whole.interval))


def test_fitting_takes_no_memory_for_its_resamples():
    labels, logits, _ = drawn_scores(100_000)
    tracemalloc.start()
    fit(labels, logits, "accuracy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # weights of all resamples at once are 80e6 and twice as much while they are drawn
