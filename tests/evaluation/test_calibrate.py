"""Calibrated weights carry what was fitted, and on what; test images are refused, or the weights marked, wherever that shows."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import lfm_jax.inference.detector
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.calibrate import calibrate_network
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.io import Weights
from lfm_jax.weights.score import sigmoid


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
