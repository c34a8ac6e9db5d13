"""Evaluation worked out by hand: folders of images with known logits, and what the rows and the table say of them."""

import dataclasses
import json
import statistics

import pytest
from PIL import Image

from lfm_jax.data import synthetic
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.evaluate import evaluate_network, join_evaluations
from lfm_jax.weights.score import sigmoid


def near(**values):
    return {name: pytest.approx(value) for name, value in values.items()}


def part(row, *names):
    return {name: row[name] for name in names}


def test_a_generator_is_scored_on_its_images(evaluated):
    """Reals -3, 1; fakes 2, 1, -1: called fake are 1 | 2, 1. Down the ranking: 2 fake, {1 fake, 1 real}, -1 fake."""
    row = evaluated({"gan_a": ([-3, 1], [2, 1, -1])}).row("generator", generator="gan_a")
    assert part(row, "protocol", "suite", "n_real", "n_fake") == {"protocol": "native", "suite": "root", "n_real": 2, "n_fake": 3}
    ap = (1 + 2 / 3 + 3 / 4) / 3
    assert part(row, "acc", "real_acc", "fake_acc", "ap") == near(acc=3 / 5, real_acc=1 / 2, fake_acc=2 / 3, ap=ap)


def test_a_generator_pools_its_classes(evaluated):
    """Each class ranks perfectly on its own, the two together do not: 6 fake, 5 real, -5 fake, -6 real."""
    groups = {"gan_a/car": ([5], [6]), "gan_a/cat": ([-6], [-5]), "gan_b": ([-1], [1])}
    row = evaluated(groups).row("generator", generator="gan_a")
    assert part(row, "n_real", "n_fake") == {"n_real": 2, "n_fake": 2}
    assert part(row, "acc", "ap") == near(acc=1 / 2, ap=(1 + 2 / 3) / 2)


def test_a_suite_is_the_unweighted_mean_of_its_generators(evaluated):
    """gan_a: 10 images, all correct; gan_b: 2 images, one correct. Pooled this would be 11/12."""
    row = evaluated({"gan_a": ([-1] * 5, [1] * 5), "gan_b": ([1], [1])}).row("suite")
    assert part(row, "suite", "generator", "n_real", "n_fake") == {"suite": "root", "generator": "mean", "n_real": 6, "n_fake": 6}
    assert part(row, "acc", "real_acc", "fake_acc") == near(acc=3 / 4, real_acc=1 / 2, fake_acc=1)


def test_overall_is_the_mean_of_all_generators_not_of_the_suites(evaluated):
    """Suite S has three generators at 1, T one at 0.5: 7/8 over generators, 3/4 over suites."""
    correct, half = ([-1, -1], [1, 1]), ([1, 1], [1, 1])
    evaluation = evaluated({"S/a": correct, "S/b": correct, "S/c": correct, "T/d": half})
    assert evaluation.row("suite", suite="S")["acc"] == 1
    assert evaluation.row("suite", suite="T")["acc"] == 1 / 2
    overall = evaluation.row("overall")
    assert part(overall, "acc", "n_real", "n_fake") == {"acc": pytest.approx(7 / 8), "n_real": 8, "n_fake": 8}


def test_one_suite_needs_no_overall_row(evaluated):
    levels = [row["level"] for row in evaluated({"gan_a": ([-1], [1]), "gan_b": ([-1], [1])}).rows]
    assert levels == ["generator", "generator", "suite", "pooled"]


def test_generators_of_one_name_in_two_suites_stay_apart(evaluated):
    evaluation = evaluated({"S/ldm": ([-1], [1]), "T/ldm": ([1], [-1])})
    assert evaluation.row("generator", suite="S", generator="ldm")["acc"] == 1
    assert evaluation.row("generator", suite="T", generator="ldm")["acc"] == 0


def test_a_metric_that_a_generator_does_not_define_is_left_out_of_the_means(evaluated):
    evaluation = evaluated({"gan_a": ([-1], [1, -1]), "gan_b": ([], [1])})
    assert part(evaluation.row("generator", generator="gan_b"), "real_acc", "ap") == {"real_acc": None, "ap": None}
    suite = evaluation.row("suite")
    assert part(suite, "real_acc", "fake_acc", "ap") == near(real_acc=1, fake_acc=3 / 4, ap=(1 + 2 / 3) / 2)
    line = next(line for line in evaluation.table().splitlines() if "gan_b" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["native", "root", "gan_b", "0", "1", "100.0 [100.0, 100.0]", "-", "100.0", "-", "-", "-"]


def test_the_threshold_of_the_card_decides(folder, given_logits):
    given_logits.card = dataclasses.replace(given_logits.card, threshold=float(sigmoid(2.5)))
    row = evaluate_network(given_logits, open_folder(folder({"gan_a": ([2], [2, 3])})), ["native"]).row("generator")
    assert part(row, "acc", "acc_at_threshold") == near(acc=2 / 3, acc_at_threshold=2 / 3)
    assert part(row, "real_acc", "fake_acc") == near(real_acc=0, fake_acc=1)  # as published: at score 0.5


def test_protocols_have_rows_of_their_own_and_are_never_averaged(folder, given_logits):
    """Images with a frame of another red: under native the corner decides, under crop32 the middle."""
    root = folder({"S/gan_a": ([], []), "T/gan_b": ([], [])})
    for group in ("S/gan_a", "T/gan_b"):
        for label, (corner, middle) in {"0_real": (-1, 1), "1_fake": (1, -1)}.items():
            image = Image.new("RGB", (64, 64), (100 + corner, 0, 0))
            image.paste((100 + middle, 0, 0), (16, 16, 48, 48))
            (root / group / label).mkdir(parents=True)
            image.save(root / group / label / "1.png")
    both = evaluate_network(given_logits, open_folder(root), ["native", "crop32"])
    for protocol, accuracy in {"native": 1, "crop32": 0}.items():
        alone = evaluate_network(given_logits, open_folder(root), [protocol])
        assert [row for row in both.rows if row["protocol"] == protocol] == alone.rows
        assert {row["acc"] for row in alone.rows} == {accuracy}
        assert both.row("overall", protocol=protocol)["acc"] == accuracy
    assert {row["protocol"] for row in both.rows} == {"native", "crop32"}
    assert len(both.predictions) == 8


def test_broken_files_are_named_for_each_protocol_and_counted_out(folder, given_logits):
    root = folder({"gan_a": ([-1, -1, -1], [1, 1])})
    (root / "gan_a/0_real/1.png").write_bytes(b"")
    evaluation = evaluate_network(given_logits, open_folder(root), ["native", "crop224"])
    assert evaluation.errors == [
        {
            "path": "gan_a/0_real/1.png",
            "weights": given_logits.card.weights_sha256[:12],
            "protocol": protocol,
            "view": "as_is",
            "error": "empty file (0 bytes)",
        }
        for protocol in ("native", "crop224")
    ]
    assert part(evaluation.row("generator", protocol="native"), "n_real", "n_fake") == {"n_real": 2, "n_fake": 2}
    assert [p["path"] for p in evaluation.predictions if p["protocol"] == "native"] == [
        f"gan_a/{name}.png" for name in ("0_real/0", "0_real/2", "1_fake/0", "1_fake/1")
    ]


def test_the_table_is_in_percent_under_the_usual_headings(evaluated):
    evaluation = evaluated({"gan_a": ([-1, 1, 1], [1, 1, 1])})
    head, _, *lines = evaluation.table().splitlines()
    row = evaluation.row("generator")
    acc, ap, auc = (
        f"[{100 * low:.1f}, {100 * high:.1f}]" for low, high in (row["interval"][name] for name in ("acc", "ap", "auc"))
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines)]
    assert cells == [
        ["protocol", "suite", "generator", "real", "fake", "ACC", "real ACC", "fake ACC", "AP", "AUC", "EER"],
        ["native", "root", "gan_a", "3", "3", f"66.7 {acc}", "33.3", "100.0", f"60.0 {ap}", f"66.7 {auc}", "40.0"],
        ["native", "root", "mean", "3", "3", f"66.7 {acc}", "33.3", "100.0", f"60.0 {ap}", f"66.7 {auc}", "40.0"],
    ]


def test_the_weighted_mean_and_the_worst_generator_stand_beside_the_mean(evaluated):
    """gan_a: 10 images, all correct; gan_b: 2 images, one correct and ranked last."""
    row = evaluated({"gan_a": ([-1] * 5, [1] * 5), "gan_b": ([1], [-1])}).row("suite")
    assert (row["acc"], row["weighted"]["acc"], row["worst"]) == (1 / 2, pytest.approx(10 / 12), "gan_b")


def test_an_interval_widens_with_fewer_images(evaluated):
    evaluation = evaluated({"few": ([-1, -1, 1], [1, 1, -1]), "many": ([-1, -1, 1] * 6, [1, 1, -1] * 6)})
    widths = {}
    for name in ("few", "many"):
        row = evaluation.row("generator", generator=name)
        low, high = row["interval"]["acc"]
        assert low <= row["acc"] <= high
        widths[name] = high - low
    assert widths["many"] < widths["few"]
    low, high = evaluation.row("suite")["interval"]["acc"]
    assert high - low < widths["few"]


def test_views_have_rows_of_their_own(folder, given_logits):
    """Noise on only the fakes leaves the logits of the reals alone."""
    root = folder({"S/a": ([-3, -2], [2, 3]), "T/b": ([-3], [3])})
    evaluation = evaluate_network(given_logits, open_folder(root), ["native"], views=["as_is", "fakes_noise100"])
    assert {row["view"] for row in evaluation.rows} == {"as_is", "fakes_noise100"}
    alone = evaluate_network(given_logits, open_folder(root), ["native"], views=["fakes_noise100"])
    assert [row for row in evaluation.rows if row["view"] != "as_is"] == alone.rows
    logits = {(p["path"], p["view"]): p["logit"] for p in evaluation.predictions}
    for (path, view), logit in logits.items():
        if view != "as_is":
            assert (logit == logits[path, "as_is"]) == ("0_real" in path)
    assert [line.split("|")[2].strip() for line in evaluation.table().splitlines()[2:]] == [row["view"] for row in evaluation.rows]


def test_several_weights_give_their_rows_and_then_mean_and_deviation(folder, given_logits, tiny_detector):
    source = open_folder(folder({"gan_a": ([-1, 1], [1, 1])}))
    one, other = (evaluate_network(detector, source, ["native"]) for detector in (given_logits, tiny_detector))
    other = dataclasses.replace(other, rows=[row | {"weights": "other"} for row in other.rows])
    both = join_evaluations([one, other])
    assert both.rows[:4] == one.rows + other.rows
    assert len(both.predictions) == 8
    mean = both.rows[4]
    accuracies = [one.rows[0]["acc"], other.rows[0]["acc"]]
    assert mean["weights"] == "mean of 2"
    assert mean["acc"] == pytest.approx(statistics.mean(accuracies))
    assert mean["deviation"]["acc"] == pytest.approx(statistics.stdev(accuracies))
    assert f"± {100 * mean['deviation']['acc']:.1f}" in both.table()
    assert join_evaluations([one]) == one


def test_a_real_detector_is_evaluated_the_same_way(tiny_detector, labelled_folder):
    evaluation = evaluate_network(tiny_detector, open_folder(labelled_folder), ["native"])
    rows = {row["generator"]: row for row in evaluation.rows}
    assert part(rows["gan_a"], "acc", "real_acc", "fake_acc") == near(acc=3 / 4, real_acc=1, fake_acc=1 / 2)
    assert part(rows["gan_b"], "acc", "ap") == near(acc=1, ap=1)
    assert rows["mean"]["acc"] == pytest.approx(7 / 8)


def test_the_built_in_benchmark_is_scored_under_views_as_a_folder_is(lfm, weights_file, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SIZES", {"test": 16})
    ran = lfm(
        "evaluate", "--weights", weights_file, "--data=builtin", "--protocol=crop64", "--views=as_is,all_q75", "--out", tmp_path
    )
    assert ran.status == 0
    results = json.loads((tmp_path / "results.json").read_text())
    rows = [row for row in results["rows"] if row["level"] == "generator"]
    assert {row["view"] for row in rows} == {"as_is", "all_q75"}
    assert {row["generator"] for row in rows} == set(synthetic.GENERATORS["test"])
    assert all(row["n_real"] == row["n_fake"] == 1 for row in rows)
