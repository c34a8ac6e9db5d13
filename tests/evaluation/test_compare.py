"""Two evaluations of the same images: differences worked out by hand, paired intervals, and what cannot be compared."""

import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest

from lfm_jax.data.sources.base import Example
from lfm_jax.errors import DataError
from lfm_jax.evaluation.bootstrap import interval, resamples
from lfm_jax.evaluation.compare import compare_evaluations, mcnemar, p_value
from lfm_jax.evaluation.evaluate import Evaluation
from lfm_jax.evaluation.saved import read_evaluation
from lfm_jax.evaluation.tables import cell_rows
from lfm_jax.report.files import write_files


class Names:
    """A source of which only the name matters."""

    name, examples = "names", [Example("x")]

    def encoded(self, index):
        return None

    def content_hash(self, index):
        return ""


@pytest.fixture
def folder(tmp_path, tiny_detector, monkeypatch):
    """folder(name, {generator: (logits of reals, of fakes)}, ...) -> the output folder of an evaluation with these logits."""
    monkeypatch.setattr("lfm_jax.evaluation.plots.examples", lambda *_: None)
    monkeypatch.setattr("lfm_jax.report.page.write_page", lambda *_, **__: None)

    def build(name, groups, *, conditions=(("native", "as_is"),), errors=(), data_sha256="abc", threshold=0.5):
        detector = copy.copy(tiny_detector)
        card = detector.card = dataclasses.replace(tiny_detector.card, threshold=threshold)
        rows, predictions = [], []
        for protocol, view in conditions:
            cell = {"weights": card.weights_sha256[:12], "protocol": protocol, "view": view}
            records = [
                {"path": f"{group}/{label}/{i}.png", "suite": group.split("/")[0], "generator": group.split("/")[-1]}
                | {"label": label, "logit": float(logit), "score": 0.5, "verdict": "no trace found", "why": "", **cell}
                for group, labels in groups.items()
                for label, logits in enumerate(labels)
                for i, logit in enumerate(logits)
                if logit is not None
            ]
            predictions += records
            rows += cell_rows(records, cell, threshold=threshold, temperature=1.0)
        failed = [{"path": path, "protocol": p, "view": v, "error": "broken"} for path in errors for p, v in conditions]
        write_files(Evaluation(rows, predictions, failed), [detector], Names(), tmp_path / name, data_sha256=data_sha256)
        return tmp_path / name

    return build


def rows(a, b):
    return {
        (row["level"], row["suite"], row["generator"]): row
        for row in compare_evaluations(read_evaluation(a), read_evaluation(b)).rows
    }


def test_differences_are_b_minus_a_for_generators_suites_and_overall(folder):
    a = folder("a", {"S/x": ([-1, 1], [1, -1]), "S/y": ([-1], [1]), "T/z": ([-1, -1], [1, 1])})
    b = folder("b", {"S/x": ([-1, -1], [1, -1]), "S/y": ([-1], [-1]), "T/z": ([-1, -1], [1, 1])})
    by_group = rows(a, b)
    x = by_group["generator", "S", "x"]
    assert (x["n_real"], x["n_fake"]) == (2, 2)
    assert {name: x["acc"][name] for name in ("a", "b", "difference")} == {"a": 1 / 2, "b": 3 / 4, "difference": 1 / 4}
    assert by_group["generator", "S", "y"]["acc"]["difference"] == -1 / 2
    assert by_group["suite", "S", "mean"]["acc"]["difference"] == pytest.approx((1 / 4 - 1 / 2) / 2)
    assert by_group["overall", "all", "mean"]["acc"]["difference"] == pytest.approx((1 / 4 - 1 / 2) / 3)
    assert by_group["overall", "all", "mean"]["n_real"] == 5


def test_a_folder_does_not_differ_from_itself(folder):
    rng = np.random.default_rng(0)
    a = folder("a", {"S/x": (rng.normal(-1, 1, 30), rng.normal(1, 1, 30)), "T/y": (rng.normal(-1, 1, 9), [])})
    for row in rows(a, a).values():
        for name in ("acc", "ap", "auc", "ece"):
            if row[name]:
                assert (row[name]["difference"], row[name]["interval"], row[name]["p"]) == (0, [0, 0], 1)
    assert rows(a, a)["generator", "T", "y"]["ap"] is None
    assert rows(a, a)["suite", "T", "mean"]["ap"] is None


def test_pairing_sees_a_small_steady_difference_that_two_intervals_would_hide(folder):
    """B is A with every score moved a little the right way: each image votes for B."""
    rng = np.random.default_rng(1)
    reals, fakes = rng.normal(-0.5, 1, 200), rng.normal(0.5, 1, 200)
    a, b = folder("a", {"S/x": (reals, fakes)}), folder("b", {"S/x": (reals - 0.15, fakes + 0.15)})
    difference = rows(a, b)["generator", "S", "x"]["auc"]
    assert difference["interval"][0] > 0
    assert difference["p"] <= 0.01
    ends = [json.loads((out / "results.json").read_text())["rows"][0]["interval"]["auc"] for out in (a, b)]
    assert ends[0][1] > ends[1][0]  # their separate intervals overlap


def test_paired_intervals_hold_the_true_difference_about_95_times_in_100():
    """A sees signal + noise, B the same signal less clearly; the truth from 400,000 images."""
    rng, sets, held, false_alarms = np.random.default_rng(5), 300, 0, 0

    def draw(n):
        labels = np.repeat([0, 1], n)
        signal = labels * 1.5 - 0.75 + rng.normal(0, 0.7, 2 * n)
        return labels, signal + rng.normal(0, 0.5, 2 * n), signal + rng.normal(0, 0.8, 2 * n)

    def accuracy(labels, a, b):
        return ((b > 0) == labels).mean() - ((a > 0) == labels).mean()

    def resampled(labels, a, b, weights):
        return weights @ np.subtract((b > 0) == labels, (a > 0) == labels, dtype=float) / labels.size

    truth = accuracy(*draw(400_000))
    for number in range(sets):
        labels, a, b = draw(150)
        weights = resamples(labels, name=str(number), replicates=200)
        low, high = interval(resampled(labels, a, b, weights), accuracy(labels, a, b))
        held += low <= truth <= high
        swapped = np.where(rng.random(a.size) < 0.5, [a, b], [b, a])  # a coin tossed for each image: no true difference
        false_alarms += p_value(resampled(labels, *swapped, weights)) <= 0.05
    assert 0.91 <= held / sets <= 0.98
    assert false_alarms / sets <= 0.09


def test_p_counts_both_sides_and_the_sample_itself():
    assert p_value(np.array([1.0] * 99)) == pytest.approx(2 / 100)
    assert p_value(np.array([1.0] * 95 + [0.0] * 2 + [-1.0] * 2)) == pytest.approx(2 * 5 / 100)
    assert p_value(np.zeros(99)) == 1


def test_mcnemar_counts_the_images_that_only_one_calls_correctly():
    """Only A is correct on five images, only B on none: 2 / 2 ** 5."""
    a, b = np.array([1] * 5 + [1, 0], bool), np.array([0] * 5 + [1, 0], bool)
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(2 / 32)
    assert mcnemar(a, a) == 1


def test_conditions_are_compared_one_by_one_and_those_of_one_folder_are_named(folder, lfm):
    groups = {"S/x": ([-1, 1], [1, -1])}
    a = folder("a", groups, conditions=[("native", "as_is"), ("crop256", "all_q96")])
    b = folder("b", groups, conditions=[("native", "as_is"), ("crop256", "as_is")])
    assert {(row["protocol"], row["view"]) for row in compare_evaluations(read_evaluation(a), read_evaluation(b)).rows} == {
        ("native", "as_is")
    }
    ran = lfm("compare", a, b)
    assert ran.status == 0
    assert f"only in {a}: crop256 all_q96" in ran.out
    assert f"only in {b}: crop256 as_is" in ran.out


def test_folders_without_a_common_condition_are_refused_with_what_each_has(folder, lfm):
    groups = {"S/x": ([-1], [1])}
    ran = lfm("compare", folder("a", groups), folder("b", groups, conditions=[("resize256", "as_is")]))
    assert ran.status == 2
    for words in ("no protocol and view in common", "native as_is", "resize256 as_is"):
        assert words in ran.err


def test_different_images_are_refused_with_their_number_and_some_names(folder):
    a = folder("a", {"S/x": ([-1] * 9, [1])})
    b = folder("b", {"S/x": ([-1] * 2, [1, 1])})
    with pytest.raises(DataError, match=r"3 are in both; 7 only in .*a: S/x/0/2.png, .*\.\.\.; 1 only in .*b: S/x/1/1.png$"):
        compare_evaluations(read_evaluation(a), read_evaluation(b))


def test_the_same_names_with_different_content_are_refused(folder):
    a, b = folder("a", {"S/x": ([-1], [1])}), folder("b", {"S/x": ([-1], [1])}, data_sha256="def")
    with pytest.raises(DataError, match="other content"):
        compare_evaluations(read_evaluation(a), read_evaluation(b))
    assert rows(a, folder("c", {"S/x": ([-1], [1])}, data_sha256=""))  # if one has no hash, the names decide


def test_images_that_one_could_not_score_are_left_out_of_both_and_named(folder, lfm):
    a = folder("a", {"S/x": ([-1, 1, -1], [1])})
    b = folder("b", {"S/x": ([-1, None, -1], [1])}, errors=["S/x/0/1.png"])
    row = rows(a, b)["generator", "S", "x"]
    assert (row["n_real"], row["acc"]["a"], row["acc"]["b"]) == (2, 1, 1)
    assert "1 not scored by both, left out: S/x/0/1.png" in lfm("compare", a, b).out


def test_several_weights_in_a_folder_are_refused(folder, lfm):
    a = folder("a", {"S/x": ([-1], [1])})
    b = shutil.copytree(a, a.parent / "b")
    results = json.loads((b / "results.json").read_text())
    results["cards"] *= 2
    del results["sha256"]  # of what was there before
    (b / "results.json").write_text(json.dumps(results))
    ran = lfm("compare", a, b)
    assert (ran.status, "2 sets of weights" in ran.err) == (2, True)


@pytest.mark.parametrize("missing", ["predictions.tsv", "results.json", None])
def test_a_folder_that_is_not_an_evaluation_is_refused(missing, folder, lfm, tmp_path):
    a = folder("a", {"S/x": ([-1], [1])})
    if missing:
        (a / missing).unlink()
    ran = lfm("compare", a, a if missing else tmp_path / "nothing")
    assert ran.status == 2
    assert (missing or "predictions.tsv") in ran.err


def test_the_table_and_the_json_say_the_same(folder, lfm, tmp_path):
    a, b = folder("a", {"S/x": ([-1, 1], [1, -1])}), folder("b", {"S/x": ([-1, -1], [1, -1])}, threshold=0.9)
    ran = lfm("compare", a, b, "--metric", "acc,acc_at_threshold")
    comparison = json.loads(lfm("compare", a, b, "--json").out)
    row = comparison["rows"][0]
    low, high = (f"{100 * end:+.1f}" for end in row["acc"]["interval"])
    assert f" 50.0 |    75.0 | +25.0 [{low}, {high}] |" in ran.out
    assert f"{row['mcnemar']:.3f} |" in ran.out
    assert row["acc_at_threshold"]["b"] == 1 / 2
    assert (comparison["a"]["folder"], comparison["unscored"]) == (str(a), [])
    assert lfm("compare", a, b, "--json", "--out", tmp_path / "out.json").out == ""
    assert json.loads((tmp_path / "out.json").read_text()) == comparison


def test_an_unknown_metric_is_named_with_the_nearest(folder, lfm):
    a = folder("a", {"S/x": ([-1], [1])})
    ran = lfm("compare", a, a, "--metric", "acc,apx")
    assert (ran.status, "did you mean 'ap'" in ran.err) == (2, True)


def test_a_folder_of_an_earlier_version_has_its_view_native_compared_as_as_is(folder):
    now = folder("now", {"S/x": ([-1, 1], [1, -1])})
    then = shutil.copytree(now, now.parent / "then")
    for name in ("predictions.tsv", "results.json"):
        (then / name).write_text((then / name).read_text().replace("as_is", "native"))
    results = json.loads((then / "results.json").read_text())
    del results["predictions_sha256"], results["sha256"]  # which those versions did not write
    (then / "results.json").write_text(json.dumps(results))
    assert "as_is" not in (then / "results.json").read_text()
    (comparison,) = {
        (row["protocol"], row["view"]) for row in compare_evaluations(read_evaluation(then), read_evaluation(now)).rows
    }
    assert comparison == ("native", "as_is")
