"""Sweeps: every run is trained once, whatever happened before, and one table has them all. The files in configs/ablations."""

import csv
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import lfm_jax.training.loop
from lfm_jax.evaluation.compare import compare_evaluations
from lfm_jax.evaluation.saved import read_evaluation
from lfm_jax.training import sweep as sweep_lib
from lfm_jax.training.loop import train_and_evaluate
from tests.helpers.sweeps import SWEEP
from tests.helpers.training import without_pictures

ABLATIONS = Path(__file__).parents[2] / "configs" / "ablations"
RUNS = ["topk-seed0", "mean-seed0", "topk-seed1", "mean-seed1"]


@pytest.fixture(scope="session")
def sweep_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "sweep.py"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def trained(monkeypatch):
    """Names of the workdirs of the runs that are really trained, in order."""
    names = []

    def train(config, workdir):
        names.append(workdir.name)
        return train_and_evaluate(config, workdir)

    monkeypatch.setattr(lfm_jax.training.loop, "train_and_evaluate", train)
    return names


@pytest.fixture(scope="module")
def swept(sweep_file, tmp_path_factory):
    """The folder of a whole sweep."""
    from lfm_jax.cli import main

    out = tmp_path_factory.mktemp("swept")
    with without_pictures():
        assert main(["sweep", f"--config={sweep_file}", f"--out={out}"]) == 0
    return out


@pytest.fixture
def without(swept, tmp_path):
    """without(NAME, ...) copies the whole sweep without these runs, and returns the folder of the copy."""

    def copy(*names):
        shutil.copytree(swept, tmp_path / "out", ignore=lambda _, entries: set(names) & set(entries))
        return tmp_path / "out"

    return copy


def test_the_table_has_each_run_each_variant_and_its_difference_on_the_same_images(swept):
    results = json.loads((swept / "results.json").read_text())
    assert [row["run"] for row in results["runs"]] == RUNS
    assert results["base"] == "topk" and results["protocol"] == "native"
    for row in results["runs"]:
        (expected,) = [
            tested
            for tested in json.loads((swept / "runs" / row["run"] / "test" / "best" / "results.json").read_text())["rows"]
            if tested["level"] == "suite"
        ]
        assert (row["acc"], row["ap"]) == (expected["acc"], expected["ap"])
        assert row["interval"]["ap"] == expected["interval"]["ap"]
    topk, mean = results["variants"]
    assert (topk["variant"], mean["variant"], mean["seeds"]) == ("topk", "mean", [0, 1])
    of_mean = [row["ap"] for row in results["runs"] if row["variant"] == "mean"]
    assert mean["ap"] == pytest.approx(np.mean(of_mean))
    assert mean["deviation"]["ap"] == pytest.approx(abs(of_mean[0] - of_mean[1]) / 2**0.5)
    assert mean["difference"]["ap"]["mean"] == pytest.approx(mean["ap"] - topk["ap"])
    assert topk["difference"] == {}
    compared = compare_evaluations(*(read_evaluation(swept / "runs" / name / "test" / "best") for name in RUNS[:2]))
    (expected,) = [row for row in compared.rows if row["level"] == "suite"]
    assert results["runs"][1]["difference"]["ap"]["interval"] == expected["ap"]["interval"]
    assert (swept / "variants.png").read_bytes().startswith(b"\x89PNG")
    with open(swept / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["ap"]) for line in lines] == [row["ap"] for row in results["runs"]]
    table = (swept / "table.md").read_text()
    assert all(name in table for name in ["| topk", "| mean", *RUNS])


def test_a_finished_sweep_run_again_trains_nothing_and_gives_the_same_table(lfm, swept, sweep_file, trained):
    before = (swept / "results.json").read_text()
    ran = lfm("sweep", f"--config={sweep_file}", f"--out={swept}")
    assert (ran.status, trained) == (0, [])
    assert ran.out == (swept / "table.md").read_text()
    assert (swept / "results.json").read_text() == before


def test_runs_may_each_have_a_process_and_a_stopped_one_resumes_to_the_same_end(lfm, swept, without, sweep_file, monkeypatch):
    out = without("mean-seed0", "mean-seed1")
    command = ["sweep", f"--config={sweep_file}", f"--out={out}"]
    monkeypatch.setattr(lfm_jax.training.loop, "StopNotice", StoppedAtOnce)
    ran = lfm(*command, "--index=1")
    assert ran.status == 143
    assert "step 1 is saved" in ran.err
    monkeypatch.undo()
    ran = lfm(*command, "--collect")
    assert ran.status == 3
    assert "mean-seed0: not finished\nmean-seed1: not finished" in ran.out
    assert [row["run"] for row in json.loads((out / "results.json").read_text())["runs"]] == ["topk-seed0", "topk-seed1"]
    ran = lfm(*command, "--only=mean-seed0")
    assert (ran.status, ran.out) == (0, "")
    assert "mean-seed0: resumes" in ran.err and "resuming at step 1" in ran.err
    assert not (out / "runs" / "mean-seed1").exists()
    lfm(*command, "--collect")
    rows, whole = (json.loads((folder / "results.json").read_text())["runs"] for folder in (out, swept))
    assert rows[1] == whole[1] | {"seconds": None}


class StoppedAtOnce:
    """A stop notice that tells the run to stop after its first step."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def after(self, step):
        return True


def test_a_run_that_fails_is_reported_with_its_reason_and_the_others_run(lfm, without, sweep_file, monkeypatch):
    def train(config, workdir):
        if config.seed == 0:
            raise RuntimeError("out of memory\nand more of it")
        return train_and_evaluate(config, workdir)

    out = without("mean-seed0", "mean-seed1")
    command = ["sweep", f"--config={sweep_file}", f"--out={out}"]
    monkeypatch.setattr(lfm_jax.training.loop, "train_and_evaluate", train)
    ran = lfm(*command)
    assert ran.status == 3
    assert "mean-seed0: failed: out of memory\n" in ran.err
    assert "mean-seed0: failed: out of memory\n" in ran.out
    assert len(json.loads((out / "results.json").read_text())["runs"]) == 3
    assert "in train" in (out / "runs" / "mean-seed0" / "error.txt").read_text()
    monkeypatch.setattr(lfm_jax.training.loop, "train_and_evaluate", lambda config, workdir: {})
    ran = lfm(*command, "--only=mean-seed0")
    assert ran.status == 3
    assert "there is no test split" in ran.err


def test_without_a_finished_run_there_is_no_table(lfm, sweep_file, tmp_path):
    ran = lfm("sweep", f"--config={sweep_file}", f"--out={tmp_path}", "--collect")
    assert ran.status == 2
    assert "no run is finished: topk-seed0: not finished" in ran.err


@pytest.mark.parametrize(
    ("sweep", "arguments", "words"),
    [
        ('Sweep({"a": {"model.poolin.kind": "mean"}})', [], ["variant 'a'", "poolin"]),
        ('Sweep({"a": {"model.pooling.kind": "median"}})', [], ["variant 'a'", "config.model.pooling.kind = 'median'"]),
        ('Sweep({"a": {"steps": 0}})', [], ["variant 'a'", "config.steps = 0"]),
        ('Sweep({"a/b": {}})', [], ["'a/b'", "letters"]),
        ("Sweep({})", [], ["0 variants"]),
        ('Sweep({"a": {}})', ["--index=3"], ["--index=3", "3 runs, 0 to 2"]),
        ('Sweep({"a": {}})', ["--only=b-seed0"], ["--only=b-seed0", "a-seed0, a-seed1, a-seed2"]),
        ('Sweep({"a": {}})', ["--only=a-seed0", "--collect"], ["not allowed with"]),
        ('Sweep({"a": {}})', ["--config.stepps=3"], ["stepps"]),
    ],
)
def test_what_cannot_run_is_refused_before_anything_does(lfm, tmp_path, trained, sweep, arguments, words):
    path = tmp_path / "sweep.py"
    path.write_text(SWEEP[: SWEEP.index("    return Sweep")] + f"    return {sweep}\n")
    ran = lfm("sweep", f"--config={path}", f"--out={tmp_path / 'out'}", *arguments)
    assert (ran.status, ran.out, trained) == (2, "", [])
    for word in words:
        assert word in ran.err
    assert not (tmp_path / "out").exists()


def test_a_preset_is_not_a_sweep(lfm, tmp_path):
    ran = lfm("sweep", f"--config={ABLATIONS / 'small.py'}", f"--out={tmp_path}")
    assert ran.status == 2
    assert "get_sweep()" in ran.err


@pytest.mark.parametrize("path", sorted(set(ABLATIONS.glob("*.py")) - {ABLATIONS / "small.py"}), ids=lambda path: path.stem)
def test_an_ablation_changes_what_its_names_say_and_every_run_can_be_built(path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ABLATIONS), *sys.path])
    sweep = sweep_lib.load(str(path))
    runs = sweep_lib.plan(sweep, runpy.run_path(str(path))["get_config"](), Path("out"))
    assert len({run.name for run in runs}) == len(runs) == 3 * len(sweep.variants)
    configs = {run.config.to_json() for run in runs}
    assert len(configs) == len(runs), "two variants are the same"
    assert f"--config=ablations/{path.stem} " in path.read_text()
