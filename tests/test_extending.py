"""The recipes of docs/extending.md, saved and run as a reader would: one file each, from a folder outside the package."""

import csv
import importlib
import json
import re
import shlex
import shutil

import numpy as np
import pytest

import lfm_jax
from lfm_jax.models import Pooling
from lfm_jax.ops.pooling import top_k_pool
from lfm_jax.weights import io as weights_io
from tests.helpers.networks import REPOSITORY, equal_to_the_bit

RECIPE = re.compile(r"Save it as `(?P<name>\w+\.py)`:\n\n```python\n(?P<text>.*?)^```\n\n```sh\n(?P<commands>.*?)^```", re.M | re.S)
RECIPES = {match["name"]: match for match in RECIPE.finditer((REPOSITORY / "docs" / "extending.md").read_text())}

# What makes a run take seconds. Every other word of a command is the document's.
QUICK = {
    "steps": 2,
    "batch_size": 8,
    "model.widths": "(4,8)",
    "model.maps": 4,
    "model.pooling.k": 4,
    "data.synthetic.side": 64,
    "data.synthetic.train": 16,
    "data.synthetic.val": 8,
    "data.synthetic.test": 16,
    "data.crop": 48,
    "optim.warmup_steps": 0,
    "eval.test": False,
}


def needs(module, name):
    """Skips a recipe whose registry is not in this tree."""
    if not hasattr(importlib.import_module(module), name):
        pytest.skip(f"no {name} in {module}")


@pytest.fixture
def folder(tmp_path, monkeypatch, noise):
    """Where a reader works: the presets, and a photo."""
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    noise(80, 72).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def follow(folder, lfm):
    """follow("my_part.py"): saves that file and runs its commands -> what each printed, by verb."""

    def run(name):
        recipe, printed = RECIPES[name], {}
        (folder / name).write_text(recipe["text"])
        for line in recipe["commands"].splitlines():
            program, verb, *words = shlex.split(line)
            quick = [f"--config.{field}={value}" for field, value in QUICK.items()] if verb == "train" else []
            ran = lfm(verb, *words, *quick)
            assert (program, ran.status) == ("lfm", 0), ran.err
            printed[verb] = ran.out
        return printed

    return run


def test_there_are_four_recipes_and_each_is_one_file():
    assert list(RECIPES) == ["my_pooling.py", "my_backbone.py", "my_data.py", "my_metric.py"]


@pytest.mark.parametrize(("name", "run"), [("my_pooling.py", "extremes"), ("my_backbone.py", "strided")])
def test_a_pooling_and_a_backbone_train_score_explain_and_convert(name, run, folder, follow, lfm):
    printed = follow(name)
    assert "photo.png" in printed["predict"]
    explanation = json.loads((folder / "explained" / "photo.json").read_text())
    total = explanation["bias"] + sum(location["evidence"] for location in explanation["locations"])
    assert total == pytest.approx(explanation["logit"], rel=1e-4, abs=1e-4)
    trained, converted = (weights_io.load(folder / path) for path in (f"runs/{run}", f"{run}.safetensors"))
    assert equal_to_the_bit(trained.variables, converted.variables)
    assert converted.card == trained.card
    back = lfm("convert", f"--import={name}", f"{run}.safetensors", "checkpoint")
    assert back.status == 0 and equal_to_the_bit(weights_io.load(folder / "checkpoint").variables, trained.variables)
    refused = lfm("convert", f"--import={name}", f"runs/{run}", f"{run}.pth")
    assert refused.status == 2 and len(refused.err.splitlines()) == 1 and "Use .safetensors" in refused.err


def test_the_pooling_that_was_registered_is_the_one_that_scores(folder, follow, noise):
    follow("my_pooling.py")
    detector, image = lfm_jax.load("extremes.safetensors"), np.asarray(noise(64, 64))[None]
    plain = detector.model.clone(pooling=Pooling(top_k_pool, k=detector.model.k))
    assert detector.logits(image) != pytest.approx(lfm_jax.Detector(plain, detector.variables, detector.card).logits(image))


def test_a_backbone_is_exported_with_its_weights(folder, follow, lfm):
    follow("my_backbone.py")
    ran = lfm("export", "--import=my_backbone.py", "--weights=runs/strided", "--format=stablehlo", "out/net.stablehlo")
    assert (ran.status, ran.err) == (0, "")


def test_weights_with_a_part_that_was_not_imported_name_it(folder, follow, lfm):
    follow("my_pooling.py")
    weights = weights_io.load("extremes.safetensors")
    weights.card.model["pooling"]["kind"] = "elsewhere"
    with pytest.raises(
        weights_io.WeightsError, match=r"config.model.pooling.kind = 'elsewhere': no such pooling.*--import=FILE.py"
    ):
        weights_io.save("other.safetensors", weights)


def test_a_data_set_trains(folder, follow, noise):
    needs("lfm_jax.data.sources", "SOURCES")
    (folder / "photos").mkdir()
    for split in ("train", "val"):
        rows = [{"path": f"{split}{index}.png", "label": index % 2} for index in range(8)]
        with open(folder / "photos" / f"{split}.csv", "w", newline="") as file:
            table = csv.DictWriter(file, ["path", "label"])
            table.writeheader()
            table.writerows(rows)
        for index, row in enumerate(rows):
            noise(64, 64, seed=index, strength=255 if row["label"] else 20).save(folder / "photos" / row["path"])
    follow("my_data.py")
    weights = weights_io.load(folder / "runs" / "table")
    assert weights.card.training["data"] == "train" and np.isfinite(weights.variables["params"]["project"]).all()


def test_a_metric_is_in_the_table_and_the_results(folder, follow, weights_file, labelled_folder):
    needs("lfm_jax.evaluation.metrics", "Metric")
    shutil.copy(weights_file, folder / "weights.safetensors")
    (folder / "photos").symlink_to(labelled_folder)
    printed = follow("my_metric.py")
    rows = json.loads((folder / "report" / "results.json").read_text())["rows"]
    assert all(0 <= row["f1"] <= 1 for row in rows)
    assert "F1" in printed["evaluate"]
