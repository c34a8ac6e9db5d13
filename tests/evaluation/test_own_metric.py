"""A metric of your own, registered in a file that --import runs, stands wherever the built-in ones do."""

import json

import numpy as np
import pytest

from lfm_jax.errors import UserError
from lfm_jax.evaluation.metrics import METRICS, Metric, detection_metrics

PARTS = """
import numpy as np
from lfm_jax.evaluation.metrics import METRICS, Metric
from lfm_jax.weights.score import is_fake

@METRICS.register("f1")
def f1():
    def compute(labels, logits, weights, *, threshold):
        called = is_fake(logits, threshold)
        return 2 * (weights @ (called & labels)) / (weights @ called + weights @ labels)
    return Metric("F1", compute, "Harmonic mean of precision and recall.", interval=True)

@METRICS.register("gap")
def gap():
    def compute(labels, logits, weights, *, threshold):
        return weights @ (labels * logits) / weights.sum(1)
    return Metric("gap", compute, percent=False)
"""


@pytest.fixture(autouse=True)
def forget_afterwards(monkeypatch):
    """What a test registers ends with it."""
    monkeypatch.setattr(METRICS, "_factories", dict(METRICS))


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    return tmp_path / "parts.py"


def register(name, metric):
    METRICS.register(name)(lambda: metric)


def test_it_stands_in_results_table_report_and_comparison(lfm, weights_file, labelled_folder, parts, tmp_path):
    out = tmp_path / "out"
    evaluate = ("evaluate", f"--import={parts}", f"--weights={weights_file}", f"--data={labelled_folder}", "--protocol=native")
    ran = lfm(*evaluate, f"--out={out}")
    assert ran.status == 0
    row = next(row for row in json.loads((out / "results.json").read_text())["rows"] if row["generator"] == "gan_a")
    assert row["f1"] == pytest.approx(2 / 3)  # one fake of two found, no real accused
    low, high = row["interval"]["f1"]
    table = (out / "table.md").read_text()
    assert " F1 |" in table and f"66.7 [{100 * low:.1f}, {100 * high:.1f}]" in table
    assert f" {row['gap']:.3f} " in table
    page = (out / "report.html").read_text()
    assert 'data-metric="f1"' in page and "Harmonic mean of precision and recall." in page
    ran = lfm("compare", f"--import={parts}", out, out, "--metric=f1,acc")
    assert ran.status == 0 and "F1 B - A" in ran.out


def test_without_the_file_its_name_is_unknown_and_the_error_says_how_to_bring_it(lfm, tmp_path):
    ran = lfm("compare", tmp_path, tmp_path, "--metric=f1")
    assert ran.status == 2
    assert "'f1'" in ran.err and "--import=FILE.py" in ran.err


def test_it_is_called_with_images_in_descending_order_of_calibrated_logits():
    seen = []

    def compute(labels, logits, weights, *, threshold):
        seen.append((labels, logits, weights, threshold))
        return np.full(len(weights), np.nan)

    register("mine", Metric("mine", compute))
    assert detection_metrics([0, 1, 1], [-2.0, 6.0, 1.0], threshold=0.7, temperature=2.0)["mine"] is None
    ((labels, logits, weights, threshold),) = seen
    assert labels.tolist() == [True, True, False]
    assert logits.tolist() == [3.0, 0.5, -1.0]  # after the temperature
    assert (weights.tolist(), threshold) == ([[1.0, 1.0, 1.0]], 0.7)


def test_one_that_forgets_the_weights_is_named():
    register("mine", Metric("mine", lambda labels, logits, weights, *, threshold: np.mean(logits)))
    with pytest.raises(UserError, match=r"metric 'mine' returned shape \[\].*expected one value per row of weights, \[1\]"):
        detection_metrics([0, 1], [-1.0, 1.0])
