"""The differences in a sweep's table, where the base run has another accuracy for each seed."""

import copy
import dataclasses
import json

import pytest

import lfm_jax.training.loop
from lfm_jax.cli import main

SWEEP = """
from lfm_jax.config import base
from lfm_jax.training.sweep import Sweep


def get_config():
    config = base()
    config.steps, config.batch_size = 1, 8
    config.data.source = "synthetic"
    return config


def get_sweep():
    return Sweep({"topk": {}, "mean": {"model.pooling.kind": "mean"}}, seeds=(0, 1, 2))
"""
# How far each run shifts all logits, which are -20 to 19: fakes of 0 and above are found where the shift is 0.
SHIFTS = {"topk-seed0": 0, "topk-seed1": -16, "topk-seed2": 0, "mean-seed0": -8, "mean-seed1": -8, "mean-seed2": -12}
FAKES_FOUND = {name: (20 + shift) / 20 for name, shift in SHIFTS.items()}


@pytest.fixture
def swept(lfm, given_logits, save_with_logit, tmp_path, monkeypatch):
    """The results of a sweep whose runs have these shifts. No run is trained."""
    for index in range(20):
        save_with_logit(tmp_path / "data" / "gan" / "0_real" / f"{index}.png", index - 20)
        save_with_logit(tmp_path / "data" / "gan" / "1_fake" / f"{index}.png", index)

    def load(name, **_):
        detector = copy.copy(given_logits)
        detector.card = dataclasses.replace(given_logits.card, training={"steps": 1})
        # Half a unit more, as a logit of 0 is not called fake.
        detector.logits_async = lambda images, *, sizes=None: given_logits.logits_async(images) + SHIFTS[str(name)] + 0.5
        return detector

    def train_and_evaluate(config, workdir):
        folder = workdir / "test" / "best"
        argv = ["evaluate", f"--weights={workdir.name}", f"--data={tmp_path / 'data'}", "--protocol=native", f"--out={folder}"]
        assert main(argv) == 0
        return {"best": "its results are in the folder"}

    monkeypatch.setattr("lfm_jax.inference.detector.load", load)
    monkeypatch.setattr(lfm_jax.training.loop, "train_and_evaluate", train_and_evaluate)
    (tmp_path / "sweep.py").write_text(SWEEP)
    ran = lfm("sweep", f"--config={tmp_path / 'sweep.py'}", f"--out={tmp_path / 'out'}")
    assert ran.status == 0, ran.err
    return json.loads((tmp_path / "out" / "results.json").read_text()), ran.out


def test_each_run_is_compared_with_the_base_of_its_own_seed_and_clear_seeds_are_counted_as_worse_and_better(swept):
    results, table = swept
    runs = {row["run"]: row for row in results["runs"]}
    assert {name: row["acc"] for name, row in runs.items()} == pytest.approx(
        {name: (1 + found) / 2 for name, found in FAKES_FOUND.items()}
    )
    for seed in range(3):
        expected = (FAKES_FOUND[f"mean-seed{seed}"] - FAKES_FOUND[f"topk-seed{seed}"]) / 2
        assert runs[f"mean-seed{seed}"]["difference"]["acc"]["difference"] == pytest.approx(expected)
    (mean,) = (row for row in results["variants"] if row["variant"] == "mean")
    assert mean["difference"]["acc"]["clear"] == [2, 1]
    assert "2 worse, 1 better of 3" in table
