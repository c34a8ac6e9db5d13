"""Counts by score: sums of parts are exact, and intervals from bins are those from the images within what chance does."""

import functools
import operator

import numpy as np
import pytest

from lfm_jax.evaluation import tables
from lfm_jax.evaluation.bootstrap import LEVEL, REPLICATES, interval, resamples
from lfm_jax.evaluation.histogram import BINS, Histogram, binned_resamples
from lfm_jax.evaluation.metrics import METRICS, detection_metrics, weighted_metrics
from lfm_jax.evaluation.terminal_table import terminal_table

OPTIONS = {"threshold": 0.7, "temperature": 1.5}
CELL = {"weights": "w", "protocol": "native", "view": "as_is"}


def drawn(rows, *, fakes=0.5, decimals=None, apart=2.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < fakes).astype(int)
    logits = rng.normal(apart * (labels - 0.5), 1.0)
    return labels, logits if decimals is None else logits.round(decimals)


@pytest.mark.parametrize("decimals", [None, 1])
def test_metrics_of_summed_parts_are_those_of_all_images(decimals):
    labels, logits = drawn(5000, decimals=decimals)
    parts = [Histogram.of(labels[part::7], logits[part::7]) for part in range(7)]
    together = functools.reduce(operator.add, parts)
    assert together.counts.sum() == 5000
    expected = detection_metrics(labels, logits, **OPTIONS)
    for name, values in together.metrics(**OPTIONS).items():
        assert values[0] == pytest.approx(expected[name], rel=1e-12), name


@pytest.mark.parametrize("fakes", [0.5, 0.02])
def test_bins_change_no_accuracy_and_the_ranking_within_the_stated_bound(fakes):
    labels, logits = drawn(100_000, fakes=fakes)
    bins = Histogram.of(labels, logits).binned(**OPTIONS)
    assert len(bins.logits) < 3 * BINS
    values, expected = bins.metrics(**OPTIONS), detection_metrics(labels, logits, **OPTIONS)
    for name in ("acc", "acc_at_threshold", "real_acc", "fake_acc"):
        assert values[name][0] == pytest.approx(expected[name], rel=1e-12)
    assert abs(values["auc"][0] - expected["auc"]) <= 1 / (2 * BINS)
    for name in set(values) - {"auc"}:
        assert values[name][0] == pytest.approx(expected[name], abs=2 / BINS), name


def test_a_perfect_ranking_stays_perfect():
    labels, logits = drawn(20_000, apart=12.0)
    assert detection_metrics(labels, logits)["auc"] == 1
    values = Histogram.of(labels, logits).binned().metrics()
    assert (values["auc"][0], values["ap"][0]) == (1, 1)


@pytest.mark.parametrize(("fakes", "decimals"), [(0.5, None), (0.1, None), (0.5, 1)])
def test_intervals_from_bins_are_those_from_the_images(fakes, decimals):
    """Ends of two runs of the exact way differ, too: an end has a deviation of 0.0845 of that of the resamples, two ends that
    of 0.12, and over the ends here the largest difference to be expected is 3.5 of those: 0.11 of the width, so 0.15."""
    labels, logits = drawn(6000, fakes=fakes, decimals=decimals)
    point = detection_metrics(labels, logits, **OPTIONS)
    exact = weighted_metrics(labels, logits, resamples(labels, name="a"), **OPTIONS)
    binned = binned_resamples(Histogram.of(labels, logits), point, name="a", **OPTIONS)
    for name in METRICS:
        ours, theirs = (np.array(interval(values[name], point[name])) for values in (binned, exact))
        assert np.abs(ours - theirs).max() <= 0.15 * np.ptp(theirs), name
        assert np.std(binned[name]) == pytest.approx(np.std(exact[name]), rel=0.1), name  # 3 deviations of the ratio


def test_resamples_keep_the_number_of_each_label_and_depend_on_the_name():
    histogram = Histogram.of(*drawn(500, decimals=1))
    draws = histogram.resamples(name="a", replicates=50)
    assert (draws.sum(1) == histogram.counts.sum(0)).all()
    np.testing.assert_array_equal(draws, histogram.resamples(name="a", replicates=50))
    assert (draws != histogram.resamples(name="b", replicates=50)).any()


def test_images_of_one_label_have_no_ranking():
    point = detection_metrics(np.ones(300, int), np.arange(1.0, 301.0))
    values = binned_resamples(Histogram.of(np.ones(300, int), np.arange(1.0, 301.0)), point, name="a")
    assert np.isnan(values["ap"]).all()
    assert (values["fake_acc"] == point["fake_acc"]).all()


def predictions(rows, generator):
    labels, logits = drawn(rows, seed=rows)
    return [
        {"suite": "s", "generator": generator, "label": int(label), "logit": float(logit)}
        for label, logit in zip(labels, logits, strict=True)
    ]


def test_the_table_says_which_intervals_are_from_bins(monkeypatch):
    options = {"threshold": 0.5, "temperature": 1.0}
    members = predictions(300, "few") + predictions(900, "many")
    before = {row["generator"]: row for row in tables.cell_rows(members, CELL, **options)}
    monkeypatch.setattr(tables, "EXACT_UP_TO", 500)
    rows = {row["generator"]: row for row in tables.cell_rows(members, CELL, **options)}
    assert {name for name, row in rows.items() if row.get("bootstrap") == "binned"} == {"many", "mean", "pooled"}
    assert rows["few"] == before["few"]
    for name, row in rows.items():
        for metric in METRICS:
            assert row[metric] == before[name][metric]
            assert row["interval"][metric] == pytest.approx(before[name]["interval"][metric], abs=0.02)
    sentence = "resampled in 1,000 bins of the score"
    for show in (tables.markdown, lambda rows: terminal_table(rows, 100)):
        assert sentence not in " ".join(show(list(before.values())).split())
        assert sentence in " ".join(show(list(rows.values())).split())
    assert len(rows["many"]["interval"]) == len(METRICS) and REPLICATES == 1000 and LEVEL == 0.95
