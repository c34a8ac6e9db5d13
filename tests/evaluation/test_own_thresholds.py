"""Each set of weights is judged by its own threshold, under the view that was asked for, on data known by content and label."""

import copy
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import lfm_jax
from lfm_jax.data import transforms, views
from lfm_jax.data.sources.base import Example
from lfm_jax.evaluation.cells import data_hash
from lfm_jax.evaluation.fitting import best_cut
from lfm_jax.weights import io as weights_io


@pytest.fixture(scope="module")
def two_formats(noise, tmp_path_factory):
    """Fakes that the tiny detector finds as PNG and as nothing else, and photographs, 24 of each."""
    root = tmp_path_factory.mktemp("formats")
    for label, strength in (("0_real", 20), ("1_fake", 255)):
        (root / "made" / label).mkdir(parents=True)
        for seed in range(24):
            noise(64, 64, seed=seed, strength=strength).save(root / "made" / label / f"{seed}.png")
            noise(64, 64, seed=seed, strength=20).save(root / "made" / label / f"{seed}.jpg", quality=90)
    return root


def test_the_range_shows_a_blind_format_and_predict_then_cannot_tell(lfm, weights_file, two_formats, tmp_path):
    out = tmp_path / "w.safetensors"
    ran = lfm("calibrate", "--range", "--weights", weights_file, "--data", two_formats, "--protocol=native", f"--out={out}")
    assert ran.status == 0, ran.err
    assert "blind" in ran.out and "0 of 24" in ran.out and "24 of 24" in ran.out
    before, after = lfm_jax.load(weights_file).card, lfm_jax.load(out).card
    assert (after.threshold, after.temperature, after.calibration) == (before.threshold, before.temperature, {})
    real = two_formats / "made" / "0_real"
    ran = lfm("predict", "--weights", out, "--protocol=native", "--format=jsonl", real / "0.png", real / "0.jpg")
    png, jpeg = map(json.loads, ran.out.splitlines())
    assert (png["verdict"], jpeg["verdict"], jpeg["why"]) == ("no trace found", "cannot tell", "blind to JPEG")
    assert jpeg["label"] == "real"
    ran = lfm("calibrate", "--range", "--weights", out, "--data", two_formats, "--protocol=crop48", f"--out={tmp_path / 'r.json'}")
    (ranges,) = json.loads((tmp_path / "r.json").read_text()).values()
    assert ranges.keys() == {"native", "crop48"}  # one more protocol leaves the others as they are


def suite_row(results):
    return next(row for row in results["rows"] if row["level"] == "suite")


@pytest.fixture
def weights_at(weights_file, tmp_path):
    """weights_at(name, threshold) -> the tiny detector's file with another threshold."""

    def save(name, threshold):
        weights = weights_io.load(weights_file)
        card = dataclasses.replace(weights.card, threshold=threshold)
        weights_io.save(tmp_path / name, weights._replace(card=card))
        return tmp_path / name

    return save


def test_two_evaluations_of_the_same_scores_differ_by_their_own_thresholds(lfm, weights_at, labelled_folder, tmp_path):
    """At a threshold of 0.9999 no image is called fake."""
    folders = []
    for name, threshold in (("a", 0.5), ("b", 0.9999)):
        options = ("--data", labelled_folder, "--protocol=native", f"--out={tmp_path / name}")
        assert lfm("evaluate", "--weights", weights_at(f"{name}.safetensors", threshold), *options).status == 0
        folders.append(tmp_path / name)
    suites = [
        next(row for row in json.loads((folder / "results.json").read_text())["rows"] if row["level"] == "suite")
        for folder in folders
    ]
    assert suites[0]["acc_at_threshold"] > suites[1]["acc_at_threshold"] + 0.2
    for a, b in ((0, 1), (1, 0)):
        ran = lfm("compare", folders[a], folders[b], "--json")
        assert ran.status == 0, ran.err
        row = suite_row(json.loads(ran.out))
        expected = [suites[side]["acc_at_threshold"] for side in (a, b)]
        assert [row["acc_at_threshold"][side] for side in ("a", "b")] == pytest.approx(expected)
        low, high = row["acc_at_threshold"]["interval"]
        assert low <= expected[1] - expected[0] <= high
        assert row["acc"]["difference"] == 0


def test_a_threshold_is_fitted_to_the_images_as_the_view_shows_them(lfm, weights_file, labelled_folder, tmp_path):
    """Calibrating under a view is calibrating on files that were saved so. Seen: logits move by several units."""
    for path in labelled_folder.rglob("*.png"):
        target = tmp_path / "blurred" / path.relative_to(labelled_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            transforms.blur(image.convert("RGB"), 0.5).save(target)
    cards = {}
    for name, data, view in (
        ("viewed", labelled_folder, "all_blur0.5"),
        ("saved", tmp_path / "blurred", "native"),
        ("other", labelled_folder, "native"),
    ):
        argv = ("--weights", weights_file, "--data", data, f"--out={tmp_path / name}.safetensors", "--protocol=native")
        ran = lfm("calibrate", *argv, *(() if view == "native" else (f"--view={view}",)))
        assert ran.status == 0, ran.err
        cards[name] = lfm_jax.load(tmp_path / f"{name}.safetensors").card
    assert cards["viewed"].threshold == cards["saved"].threshold
    assert cards["viewed"].temperature == cards["saved"].temperature
    assert cards["viewed"].calibration["before"] == cards["saved"].calibration["before"]
    assert cards["viewed"].calibration["before"] != cards["other"].calibration["before"]


def test_images_that_a_training_workdir_was_tested_on_are_refused(lfm, given_logits, save_with_logit, tmp_path, monkeypatch):
    """They lie in a folder of any name: their content gives them away."""
    monkeypatch.setattr("lfm_jax.inference.detector.load", lambda path, **_: copy.copy(given_logits))
    data, workdir = tmp_path / "my_validation", tmp_path / "workdir"
    for name, logit in {"0_real/a": -3, "0_real/b": -2, "1_fake/a": 2, "1_fake/b": 4}.items():
        save_with_logit(data / "gan" / f"{name}.png", logit)
    options = ("--weights", workdir, "--data", data, "--protocol=native")
    assert lfm("evaluate", *options, f"--out={workdir / 'test' / 'best'}").status == 0
    ran = lfm("calibrate", *options, f"--out={tmp_path / 'w.safetensors'}")
    assert ran.status == 2
    assert f"{workdir / 'test' / 'best'} was tested on" in ran.err
    save_with_logit(data / "gan/1_fake/c.png", 5)
    assert lfm("calibrate", *options, f"--out={tmp_path / 'w.safetensors'}").status == 0


class Labelled:
    """A source of two examples, of which only names, labels and content hashes matter."""

    name = "labelled"

    def __init__(self, labels, paths=("a.png", "b.png"), contents=("1", "2")):
        self.examples = [Example(path, label) for path, label in zip(paths, labels, strict=True)]
        self._contents = contents

    def content_hash(self, index):
        return self._contents[index]


def test_data_is_known_by_paths_labels_and_contents():
    sources = [
        Labelled((0, 1)),
        Labelled((1, 0)),
        Labelled((0, 1), paths=("a.png", "c.png")),
        Labelled((0, 1), contents=("1", "3")),
    ]
    hashes = [data_hash(source, threads=1) for source in sources]
    assert len(set(hashes)) == len(sources)
    assert data_hash(Labelled((0, 1)), threads=2) == hashes[0]


def test_the_robustness_grid_adds_every_view_of_it_once(lfm, given_logits, noise, tmp_path, monkeypatch):
    """The images are large enough for the network at a quarter of their size."""
    monkeypatch.setattr("lfm_jax.inference.detector.load", lambda path, **_: given_logits)
    for label, strength in (("0_real", 20), ("1_fake", 255)):
        (tmp_path / "data" / "gan" / label).mkdir(parents=True)
        noise(128, 128, strength=strength).save(tmp_path / "data" / "gan" / label / "0.png")
    options = ("--weights=w", f"--data={tmp_path / 'data'}", "--protocol=native", "--views=as_is,all_q90", "--robustness=grid")
    ran = lfm("evaluate", *options, f"--out={tmp_path / 'out'}")
    assert ran.status == 0, ran.err
    grid = [name for curve in views.GRID.values() for name in curve]
    assert len(grid) > 20
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    suites = [row["view"] for row in rows if row["level"] == "suite"]
    assert suites == ["as_is", "all_q90", *(name for name in grid if name != "all_q90")]


def test_of_two_gaps_that_are_equally_good_the_wider_is_cut():
    """Cutting at 0.5 accuses a real image, cutting at 6 misses a fake."""
    labels, logits = np.array([0, 1, 0, 1]), np.array([0.0, 1.0, 2.0, 10.0])
    assert [best_cut(labels, logits, objective) for objective in ("accuracy", "balanced")] == [6.0, 6.0]
