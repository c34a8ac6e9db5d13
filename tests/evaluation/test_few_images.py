"""Intervals of a handful of images: one that does not hold its own estimate is not stated. And swapped labels are noticed."""

import numpy as np
import pytest

from lfm_jax.evaluation.bootstrap import interval
from lfm_jax.evaluation.metrics import METRICS
from lfm_jax.evaluation.tables import cell_rows, markdown, swapped_labels
from lfm_jax.report import notes

CELL = {"weights": "w", "protocol": "native", "view": "as_is"}


def rows_of(reals, fakes, generators=("a",)):
    predictions = [
        {"suite": "S", "generator": generator, "label": label, "logit": float(logit)}
        for generator in generators
        for label, logits in enumerate((reals, fakes))
        for logit in logits
    ]
    return cell_rows(predictions, CELL, threshold=0.5, temperature=1.0)


@pytest.mark.parametrize("n_real", [1, 2, 3, 5])
def test_no_interval_is_stated_that_does_not_hold_its_own_estimate(n_real):
    for seed in range(12):
        rng = np.random.default_rng((seed, n_real))
        for row in rows_of(rng.normal(0, 2, n_real), rng.normal(0, 2, 6), generators=("a", "b")):
            for name, ends in row["interval"].items():
                assert ends is None or ends[0] - 1e-8 <= row[name] <= ends[1] + 1e-8, (row["level"], name)


def test_what_has_no_interval_stands_alone_in_the_table_with_a_footnote_in_the_report():
    rows = rows_of([0.0], [-3.0, -2.0, -1.0])
    draws = np.array([0.70, 0.80])
    assert interval(draws, 0.65) is interval(draws, None) is interval(np.array([0.7, np.nan]), 0.7) is None
    assert interval(draws, 0.75) == pytest.approx([0.7025, 0.7975])
    row = {**rows[0], "interval": {**rows[0]["interval"], "ap": None}}
    assert "| 46.2 |" not in markdown([row])
    assert notes.marked([row], {"ap": METRICS["ap"]()})[0]["marks"]["ap"] == "e"


def test_reals_above_all_fakes_get_a_hint_that_labels_may_be_swapped():
    (remark,) = swapped_labels(rows_of(range(5, 20), range(-20, 6)))
    assert "S/a" in remark
    assert "swapped" in remark
    assert swapped_labels(rows_of(range(-20, 6), range(5, 20))) == []
    assert swapped_labels(rows_of([1, 2], [-1, -2])) == []  # too few to tell
    assert swapped_labels(rows_of(range(20), [])) == []
