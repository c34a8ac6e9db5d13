"""Temperature and threshold worked out by hand; and test images are refused, or the weights marked, wherever that shows."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import lfm_jax.inference.detector
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.data.sources.open import open_validation
from lfm_jax.errors import DataError, UserError
from lfm_jax.evaluation.calibrate import calibrate_network
from lfm_jax.evaluation.fitting import best_cut, fit, fit_temperature
from lfm_jax.evaluation.leaks import known_from_tests, leak
from lfm_jax.evaluation.metrics import detection_metrics
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.io import Weights
from lfm_jax.weights.score import sigmoid


def arrays(reals, fakes):
    return np.repeat([0, 1], [len(reals), len(fakes)]), np.array([*reals, *fakes], np.float32)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_that_scaled_the_logits_is_found_again(true):
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 40_000)
    labels = (rng.random(honest.size) < sigmoid(honest)).astype(int)
    temperature, why_not = fit_temperature(labels, honest * true)
    assert temperature == pytest.approx(true, rel=0.03)
    assert not why_not
    fitted = fit(labels[:4000], (honest * true)[:4000], "accuracy")
    assert fitted.after["ece"] < 0.05
    assert fitted.after["nll"] <= fitted.before["nll"]


@pytest.mark.parametrize(
    ("reals", "fakes", "word"), [([-3, -2], [2, 3], "separate"), ([2, 3], [-3, -2], "hardly")], ids=["separated", "reversed"]
)
def test_a_temperature_without_an_optimum_stays_finite_with_a_remark(reals, fakes, word):
    fitted = fit(*arrays(reals * 100, fakes * 100), "accuracy")
    assert 0.01 < fitted.temperature < 10_000
    assert 0 < fitted.threshold < 1
    assert any("end of the range" in remark and word in remark for remark in fitted.remarks)


@pytest.mark.parametrize(
    ("reals", "fakes", "objective", "cut"),
    [
        ([-4, -2], [1, 3], "accuracy", -0.5),  # the only gap without a mistake
        ([-4, 2], [1, 5, 6], "accuracy", -1.5),  # one mistake there and between 2 and 5: the wider one
        ([0, 1, 2, 3, 4], [2.5], "accuracy", 5.0),  # it is best to call nothing fake
        ([0, 1, 2, 3], [2.5], "balanced", 2.25),  # the one fake weighs as much as the four reals
        ([0, 1, 2, 3], [2.5], "fpr=0.25", 2.25),  # one real of four may be above
        ([0, 1, 2, 3], [2.5], "fpr=0.5", 1.5),
        ([0, 1, 2, 3], [2.5, 9], "fpr=0.24", 6.0),  # none may
        ([0, 0, 0, 1], [0, 2], "fpr=0.5", 0.5),  # images of one logit stay together
    ],
)
def test_the_cut_is_in_the_middle_of_the_best_gap(reals, fakes, objective, cut):
    assert best_cut(*arrays(reals, fakes), objective) == cut


@pytest.mark.parametrize("objective", ["accuracy", "balanced", "fpr=0.05", "fpr=0"])
def test_the_fitted_threshold_does_what_was_asked_and_none_does_better(objective):
    rng = np.random.default_rng(3)
    labels, logits = arrays(rng.normal(-40, 30, 150), rng.normal(40, 30, 300))
    fitted = fit(labels, logits, objective)
    options = {"threshold": fitted.threshold, "temperature": fitted.temperature}
    called = np.array([Card(**options).is_fake(logit) for logit in logits])
    assert detection_metrics(labels, logits, **options)["acc_at_threshold"] == pytest.approx((called == labels).mean())
    tries = [(labels[logits > cut] == 0).sum() / 150 for cut in logits], [(labels[logits > cut] == 1).sum() / 300 for cut in logits]
    alarms, caught = map(np.array, tries)
    alarm, catch = called[labels == 0].mean(), called[labels == 1].mean()
    if objective == "accuracy":
        assert (called == labels).sum() == pytest.approx((150 * (1 - alarms) + 300 * caught).max())
    elif objective == "balanced":
        assert catch - alarm == pytest.approx((caught - alarms).max())
    else:
        most = float(objective.removeprefix("fpr="))
        assert alarm <= most
        assert catch == caught[alarms <= most].max()
    low, high = fitted.interval
    assert low <= fitted.threshold <= high


def test_a_threshold_far_out_is_still_a_score_below_1():
    """At temperature 1 the scores on both sides of it would be 1."""
    rng = np.random.default_rng(0)
    labels, logits = arrays([*rng.normal(-9, 1, 999), 90], [*rng.normal(9, 1, 999), 91])
    fitted = fit(labels, logits, "fpr=0")
    called = [Card(threshold=fitted.threshold, temperature=fitted.temperature).is_fake(logit) for logit in (90, 91)]
    assert (fitted.threshold < 1, called) == (True, [False, True])


def test_few_images_get_a_remark_with_their_numbers():
    remarks = fit(*arrays([-1, 0.5, -2], [1, -1.5]), "fpr=0.01").remarks
    assert any("3 real and 2 fake" in remark for remark in remarks)
    assert any("false-alarm share of 0.01" in remark for remark in remarks)
    rng = np.random.default_rng(0)
    assert fit(*arrays(rng.normal(-1, 1, 200), rng.normal(1, 1, 200)), "accuracy").remarks == []


def test_a_fit_of_weights_that_hardly_tell_the_labels_apart_is_called_useless():
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 2
    fitted = fit(labels, rng.normal(labels * 80.0, 200), "accuracy")
    assert fitted.temperature > 50
    warnings = [remark for remark in fitted.remarks if remark.startswith("warning: ")]
    assert any("hardly tell such images apart" in warning and "guessing gets 50 %" in warning for warning in warnings)
    assert any(
        "as an order, not as probabilities" in warning and f"temperature {fitted.temperature:.3g}" in warning
        for warning in warnings
    )
    alarms_are_rare = fit(labels, rng.normal(labels * 3.0, 1), "fpr=0.01")
    assert not any("warning" in remark for remark in alarms_are_rare.remarks)


def test_images_that_all_score_alike_get_a_remark():
    fitted = fit(*arrays([0.0] * 100, [0.0] * 100), "accuracy")
    assert any("one answer for all" in remark for remark in fitted.remarks)


@pytest.mark.parametrize(("reals", "fakes"), [([], [1.0]), ([1.0], []), ([], [])])
def test_a_label_without_images_is_refused(reals, fakes):
    with pytest.raises(DataError, match=f"{len(reals)} real and {len(fakes)} fake"):
        fit(*arrays(reals, fakes), "accuracy")


@pytest.mark.parametrize("objective", ["", "acc", "fpr", "fpr=1", "fpr=-0.1", "fpr=x", "fpr=nan", "tpr=0.1", "fpr=0.1=2"])
def test_an_unknown_objective_is_named_with_the_choices(objective):
    with pytest.raises(UserError, match="expected accuracy, balanced, or fpr=F"):
        best_cut(*arrays([0], [1]), objective)


@pytest.fixture
def images(save_with_logit):
    """images(root) -> root, with two reals and two fakes that `given_logits` separates between 3 and 5."""

    def build(root):
        for name, logit in {"0_real/a": -2, "0_real/b": 3, "1_fake/a": 5, "1_fake/b": 6}.items():
            save_with_logit(root / "gan" / f"{name}.png", logit)
        return root

    return build


@pytest.mark.parametrize(
    "place",
    [
        *("ForenSynths", "foren_synths", "CNN_synth_testset", "gangen", "Ojha", "diffusion1KSTEP"),
        *("GANGen-Detection/x", "x/DiffusionForensics/y", "ForenSynths_train_val/test", "UniversalFakeDetect/val"),
    ],
)
def test_a_known_test_suite_is_recognised_in_any_spelling_and_at_any_depth(place, images, tmp_path):
    images(tmp_path / place)
    assert "test suite" in leak(open_folder(tmp_path / place))
    assert "test suite" in leak(open_folder(tmp_path))  # a folder that holds one


@pytest.mark.parametrize("place", ["val", "ForenSynths/val", "ForenSynths_train_val/train", "my_validation", "test"])
def test_validation_images_are_not_taken_for_test_images(place, images, tmp_path):
    """A folder called test counts as a test split only beside train or val."""
    assert leak(open_folder(images(tmp_path / place))) is None


def test_a_test_split_is_recognised_by_the_splits_beside_it(images, tmp_path):
    (tmp_path / "val").mkdir()
    images(tmp_path / "Test")
    assert "test split" in leak(open_folder(tmp_path / "Test"))
    assert "test split" in leak(open_folder(tmp_path))


def test_a_link_to_a_test_suite_is_one(images, tmp_path):
    images(tmp_path / "ForenSynths")
    (tmp_path / "val").symlink_to(tmp_path / "ForenSynths")
    assert "ForenSynths" in leak(open_folder(tmp_path / "val"))
    (tmp_path / "copy/gan/0_real").mkdir(parents=True)
    (tmp_path / "copy/gan/0_real/a.png").symlink_to(tmp_path / "ForenSynths/gan/0_real/a.png")
    assert "ForenSynths" in leak(open_folder(tmp_path / "copy"))


@pytest.fixture
def prepared(images, tmp_path):
    """prepared(folder of images, ...) -> what `lfm data prepare` makes of them."""

    def make(*places):
        for place in places:
            images(tmp_path / "data" / place)
        prepare_folder(tmp_path / "data", tmp_path / "out")
        return tmp_path / "out"

    return make


def test_the_validation_split_of_prepared_data_is_used(prepared, given_logits, tmp_path):
    source = open_validation(prepared("val", "test", "ForenSynths/val", "GANGen-Detection"))
    folders = [open_folder(tmp_path / "data" / place) for place in ("ForenSynths/val", "val")]
    assert [example.path for example in source.examples] == [example.path for folder in folders for example in folder.examples]
    assert leak(source) is None
    card, _ = calibrate_network(given_logits, source, protocol="native")
    assert card.threshold == pytest.approx(sigmoid(4 / card.temperature))
    assert card.calibration["data"] == f"{tmp_path / 'out'} (val)"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("test", "real_fake_folder/test is a test split"),
        ("ForenSynths/test", "forensynths/test is ForenSynths, a test suite"),
        ("GANGen-Detection", "gangen_detection/test is GANGen-Detection, a test suite"),
        ("GANGen-Detection/val", "gangen_detection/val is GANGen-Detection, a test suite"),
    ],
)
def test_prepared_test_images_are_recognised_by_their_data_set_and_split(place, words, prepared):
    assert leak(open_validation(prepared(place))) == words


def test_prepared_training_images_are_not_fitted_on(prepared):
    with pytest.raises(DataError, match="no val split in the prepared data"):
        open_validation(prepared("train"))


def test_the_images_that_a_workdir_was_tested_on_are_recognised_by_content(tmp_path):
    (tmp_path / "test/best").mkdir(parents=True)
    (tmp_path / "test/best/results.json").write_text(json.dumps({"data_sha256": "abc"}))
    assert "tested on" in known_from_tests(tmp_path, "abc")
    assert known_from_tests(tmp_path, "abd") is None
    assert known_from_tests(tmp_path / "weights.pth", "abc") is None


def test_a_detector_is_calibrated_on_its_scores_and_the_card_says_on_what(given_logits, images, tmp_path):
    (images(tmp_path / "val") / "gan/0_real/c.png").write_bytes(b"")
    card, errors = calibrate_network(given_logits, open_folder(tmp_path / "val"), protocol="native", data_sha256="abc")
    assert [error["path"] for error in errors] == ["gan/0_real/c.png"]
    assert card.threshold == pytest.approx(sigmoid(4 / card.temperature))
    assert [card.is_fake(logit) for logit in (3, 5)] == [False, True]
    notes = card.calibration
    told = {"data": str(tmp_path / "val"), "data_sha256": "abc", "n_real": 2, "n_fake": 2, "protocol": "native", "view": "as_is"}
    assert (told | {"objective": "accuracy", "oracle": False}).items() <= notes.items()
    assert (notes["before"]["acc"], notes["after"]["acc"]) == (3 / 4, 1)
    assert json.loads(json.dumps(notes, allow_nan=False)) == notes


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "checkpoint"])
def test_fitted_values_come_back_from_every_format(name, given_logits, images, tmp_path):
    card, _ = calibrate_network(given_logits, open_folder(images(tmp_path / "val")), protocol="native", oracle="it is a test suite")
    variables = jax.tree.map(np.asarray, given_logits.variables)
    weights_io.save(tmp_path / name, Weights(variables, card))
    loaded = weights_io.load(tmp_path / name).card
    assert (loaded.threshold, loaded.temperature, loaded.calibration) == (card.threshold, card.temperature, card.calibration)
    assert loaded.oracle


def calibrate_command(weights_file, data, out, *more):
    return ["calibrate", "--weights", weights_file, "--data", data, "--out", out, *more]


@pytest.fixture
def renamed(labelled_folder, tmp_path):
    """renamed(name) -> the labelled folder under another name."""

    def link(name):
        (tmp_path / name).mkdir()
        for entry in labelled_folder.iterdir():
            (tmp_path / name / entry.name).symlink_to(entry)
        return tmp_path / name

    return link


def test_calibrate_writes_weights_that_predict_with_what_was_fitted(lfm, weights_file, labelled_folder, tmp_path):
    ran = lfm(
        *calibrate_command(
            weights_file, labelled_folder, tmp_path / "w.safetensors", "--protocol", "native", "--objective", "fpr=0.4"
        )
    )
    assert ran.status == 0
    assert "6 real and 5 fake images" in ran.out
    assert "under 100" in ran.err
    card = weights_io.load(tmp_path / "w.safetensors").card
    assert f"{card.threshold:.4f}" in ran.out
    path = labelled_folder / "gan_b/cat/1_fake/0.png"
    ran = lfm("predict", "--weights", tmp_path / "w.safetensors", "--protocol", "native", "--format", "jsonl", path)
    assert ran.err == ""
    record = json.loads(ran.out)
    assert record["threshold"] == card.threshold
    assert record["score"] == pytest.approx(sigmoid(record["logit"] / card.temperature))
    ran = lfm("predict", "--weights", tmp_path / "w.safetensors", "--protocol", "crop48", path, path)
    assert ran.err.count("fitted under native, not crop48") == 1


def test_calibrate_takes_prepared_data_and_refuses_its_test_split(lfm, weights_file, prepared, labelled_folder, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/val").symlink_to(labelled_folder)
    out = tmp_path / "w.safetensors"
    ran = lfm(*calibrate_command(weights_file, prepared(), out, "--protocol", "native"))
    assert ran.status == 0
    assert "6 real and 5 fake images" in ran.out
    of_folder = tmp_path / "folder.safetensors"
    lfm(*calibrate_command(weights_file, labelled_folder, of_folder, "--protocol", "native"))
    ours, theirs = (weights_io.load(path).card.calibration for path in (out, of_folder))
    assert ours | {"data": ""} == theirs | {"data": ""}  # content hash and threshold among them
    (tmp_path / "data/val").rename(tmp_path / "data/test")
    (tmp_path / "out").rename(tmp_path / "old")
    ran = lfm(*calibrate_command(weights_file, prepared(), tmp_path / "w2.safetensors", "--protocol", "native"))
    assert (ran.status, (tmp_path / "w2.safetensors").exists()) == (2, False)
    assert "real_fake_folder/test is a test split" in ran.err


def test_test_images_are_refused_unless_forced_and_then_marked_wherever_the_threshold_is_shown(
    lfm, weights_file, renamed, tmp_path
):
    data, out = renamed("forensynths"), tmp_path / "w.safetensors"
    ran = lfm(*calibrate_command(weights_file, data, out, "--protocol", "native"))
    assert (ran.status, out.exists()) == (2, False)
    assert "ForenSynths, a test suite" in ran.err
    assert "--force" in ran.err
    ran = lfm(*calibrate_command(weights_file, data, out, "--protocol", "native", "--force"))
    assert ran.status == 0
    assert "(oracle)" in ran.out
    assert weights_io.load(out).card.calibration["oracle"] is True
    ran = lfm("predict", "--weights", out, "--protocol", "native", data / "gan_a")
    assert "oracle" in ran.err
    ran = lfm("evaluate", "--weights", out, "--protocol", "native", "--data", data, "--out", tmp_path / "results")
    assert "(oracle)" in ran.out
    assert "(oracle)" in (tmp_path / "results/table.md").read_text()
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert {row["oracle"] for row in results["rows"]} == {True}
    assert results["cards"][0]["calibration"]["oracle"] is True


def test_a_view_goes_by_its_old_name_too_and_the_card_has_the_new_one(lfm, weights_file, labelled_folder, tmp_path):
    out = tmp_path / "w.safetensors"
    ran = lfm(*calibrate_command(weights_file, labelled_folder, out, "--protocol=native", "--view=native"))
    assert ran.status == 0 and "view as_is" in ran.out
    assert weights_io.load(out).card.calibration["view"] == "as_is"


@pytest.mark.parametrize("option", [("--objective", "best"), ("--protocol", "crop"), ("--view", "all_q101"), ("--out", "w.bmp")])
def test_a_mistake_is_named_before_anything_is_scored(option, lfm, weights_file, labelled_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(lfm_jax.inference.detector.Detector, "logits_async", None)
    ran = lfm(*calibrate_command(weights_file, labelled_folder, tmp_path / "w.safetensors", *option))
    assert ran.status == 2
    assert option[1] in ran.err


def test_a_card_says_when_it_is_used_under_another_protocol():
    card = dataclasses.replace(Card(), calibration={"protocol": "crop256", "oracle": False})
    assert card.caveats(["crop256"]) == []
    assert card.caveats(["crop256", "native"]) == ["threshold and temperature were fitted under crop256, not native"]
    assert Card().caveats(["native"]) == []
