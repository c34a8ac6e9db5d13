"""Images of one label in a folder of their own: means say over how many generators they are, and a pooled row is over all."""

import pytest

from lfm_jax.evaluation.metrics import METRICS
from lfm_jax.evaluation.tables import cell_rows, markdown, seed_rows
from lfm_jax.report import notes

CELL = {"weights": "w", "protocol": "native", "view": "as_is"}


def rows_of(suites, weights="w"):
    """{suite: {generator: (logits of reals, logits of fakes)}} -> the rows of a cell, by (level, suite, generator)."""
    predictions = [
        {"suite": suite, "generator": generator, "label": label, "logit": float(logit)}
        for suite, generators in suites.items()
        for generator, labels in generators.items()
        for label, logits in enumerate(labels)
        for logit in logits
    ]
    rows = cell_rows(predictions, {**CELL, "weights": weights}, threshold=0.5, temperature=1.0)
    return {(row["level"], row["suite"], row["generator"]): row for row in rows}


AS_USERS_HAVE_IT = {"S": {"camera": ([-3, -1, 2], []), "a": ([], [1, 3]), "b": ([-2, 4], [5, -4])}}


def test_a_mean_over_some_generators_says_over_how_many():
    """Only b has both labels: 5 fake, 4 real, -2 real, -4 fake has AP (1 + 2/4) / 2."""
    rows = rows_of(AS_USERS_HAVE_IT)
    mean = rows["suite", "S", "mean"]
    assert mean["ap"] == pytest.approx(3 / 4)
    assert (mean["generators"], mean["averaged"]["ap"], mean["averaged"]["acc"], mean["averaged"]["real_acc"]) == (3, 1, 3, 2)
    line = next(line for line in markdown(list(rows.values())).splitlines() if "| mean" in line)
    assert "75.0 [" in line
    assert line.count("(1 of 3)") == 3  # AP, AUC and EER
    assert line.count("(2 of 3)") == 2  # real and fake ACC


def test_the_pooled_row_ranks_all_images_of_a_suite_together():
    """5 F, 4 R, 3 F, 2 R, 1 F, -1 R, -2 R, -3 R, -4 F."""
    pooled = rows_of(AS_USERS_HAVE_IT)["pooled", "S", "pooled"]
    assert (pooled["n_real"], pooled["n_fake"]) == (5, 4)
    assert pooled["ap"] == pytest.approx((1 + 2 / 3 + 3 / 5 + 4 / 9) / 4)
    assert pooled["acc"] == pytest.approx(6 / 9)
    low, high = pooled["interval"]["ap"]
    assert low <= pooled["ap"] <= high


def test_several_suites_have_a_pooled_row_of_everything():
    rows = rows_of({"S": {"a": ([-1], [1]), "b": ([-1], [1])}, "T": {"c": ([1], [-1])}})
    assert [key for key in rows if key[0] == "pooled"] == [("pooled", "S", "pooled"), ("pooled", "all", "pooled")]
    assert rows["pooled", "all", "pooled"]["acc"] == pytest.approx(4 / 6)
    assert rows["overall", "all", "mean"]["acc"] == pytest.approx(2 / 3)
    assert list(rows_of({"S": {"a": ([-1], [1])}})) == [("generator", "S", "a"), ("suite", "S", "mean")]


def test_over_several_weights_a_mean_still_says_over_how_many_generators():
    rows = [row for weights in ("w", "v") for row in rows_of(AS_USERS_HAVE_IT, weights).values()]
    by_level = {row["level"]: row for row in seed_rows(rows)}
    assert by_level["suite"]["averaged"]["ap"] == 1
    assert by_level["pooled"]["weights"] == "mean of 2"
    assert "(1 of 3)" in markdown(seed_rows(rows))


def test_the_report_marks_such_a_mean():
    marked = notes.marked(list(rows_of(AS_USERS_HAVE_IT).values()), {"ap": METRICS["ap"]()})
    (mean,) = (row for row in marked if row["level"] == "suite")
    assert mean["marks"]["ap"] == "d"
    assert "pooled" in notes.below([mean])["d"]
