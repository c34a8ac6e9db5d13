"""Several processes on this machine, started with launch/local.sh, make the same run as one."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from lfm_jax import presets
from lfm_jax.training.loop import train_and_evaluate
from tests.helpers.launching import LAUNCH, PRESET, environment, lines, losses, same_weights
from tests.helpers.training import without_pictures

LOCAL = LAUNCH / "local.sh"
# `without_pictures` for a process of its own: page and pictures take a third of its time. Those of a process alone are kept by
# the tests of the bucket.
NO_PICTURES = """
from lfm_jax.evaluation import plots
from lfm_jax.report import page

plots.examples = page.write_page = lambda *_, **__: None
"""


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """For other processes; `plain.py` beside it is for this one."""
    path = tmp_path_factory.mktemp("preset") / "preset.py"
    path.write_text(PRESET + NO_PICTURES)
    path.with_name("plain.py").write_text(PRESET)
    return path


def train_here(preset, workdir, **changes):
    """In this process, which has one device: a start of another costs more than the run."""
    config = presets.load_config(str(preset.with_name("plain.py")))
    config.update_from_flattened_dict(changes)
    with without_pictures():
        train_and_evaluate(config, workdir)


def two_by_four(preset, workdir, *options):
    argv = [LOCAL, "-n", "2", "--devices-per-process", "4", f"--config={preset}", f"--workdir={workdir}", *options]
    return subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=600)


def succeeded(ran):
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran


def predictions(workdir):
    """Lines of predictions.tsv of the last weights, which may be the best ones."""
    folders = [workdir / "test" / name for name in ("last", "best")]
    return next(folder / "predictions.tsv" for folder in folders if folder.is_dir()).read_text().splitlines()


@pytest.fixture(scope="module")
def alone(preset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alone")
    train_here(preset, workdir)
    return workdir


@pytest.fixture(scope="module")
def together(preset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("together")
    return workdir, succeeded(two_by_four(preset, workdir))


def test_two_processes_of_four_devices_give_the_run_of_one_device(alone, together):
    """Only the order of float32 sums differs (by 2e-7). Another mask, crop or image would show in the losses."""
    workdir, _ = together
    assert [line["step"] for line in lines(workdir)] == list(range(1, 21))
    assert losses(workdir)[0] == pytest.approx(losses(alone)[0], rel=1e-6)
    np.testing.assert_allclose(losses(workdir), losses(alone), rtol=1e-4)


def test_every_image_is_scored_once_whatever_the_processes(alone, together):
    """2 does not divide the 15 validation images, nor 4 devices the groups of one size among the 16 test images."""
    workdir, _ = together
    ours, theirs = predictions(workdir), predictions(alone)
    assert [line.split("\t")[0] for line in ours] == [line.split("\t")[0] for line in theirs]
    logits = [np.array([float(line.split("\t")[4]) for line in table[1:]]) for table in (ours, theirs)]
    np.testing.assert_allclose(*logits, rtol=1e-3, atol=1e-4)  # 20 steps of rounding set the weights apart
    val = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[10])
    assert val["split"] == "val"
    assert val["n_real"] + val["n_fake"] == 15


def test_only_one_process_prints_and_writes(together):
    workdir, ran = together
    assert "process 0 of 2 by environment" in ran.stderr
    assert ran.stdout.count("last weights (step 20)") + ran.stdout.count("The last weights are the best ones") == 1
    assert not re.search(r"^\[1\] (step|resum|start)", ran.stderr + ran.stdout, re.MULTILINE)
    assert len(list((workdir / "tensorboard").glob("events*"))) == 1


@pytest.fixture(scope="module")
def stopped(preset, tmp_path_factory):
    """The workdir of two processes that were told to stop, and the step at which they say that they have saved."""
    workdir = tmp_path_factory.mktemp("stopped")
    argv = [LOCAL, "-n", "2", "--devices-per-process", "4", f"--config={preset}", f"--workdir={workdir}"]
    process = subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step 2 "):
            process.send_signal(signal.SIGTERM)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=120) == 143, rest
    return workdir, int(re.search(r"a checkpoint of step (\d+) is saved", rest).group(1))


def test_sigterm_saves_the_step_it_stops_at_and_the_same_command_resumes(preset, stopped, together, tmp_path):
    workdir, stopped_at = shutil.copytree(stopped[0], tmp_path / "run"), stopped[1]
    assert max(int(entry.name) for entry in (workdir / "checkpoints" / "last").iterdir()) == stopped_at
    assert lines(workdir)[-1]["step"] == stopped_at
    succeeded(two_by_four(preset, workdir))
    assert lines(workdir) == lines(together[0])
    assert same_weights(workdir, together[0])


def test_a_checkpoint_of_two_processes_resumes_in_one(preset, stopped, alone, tmp_path, capsys):
    workdir, stopped_at = shutil.copytree(stopped[0], tmp_path / "run"), stopped[1]
    train_here(preset, workdir)
    assert f"resuming at step {stopped_at}" in capsys.readouterr().err
    np.testing.assert_allclose(losses(workdir), losses(alone), rtol=1e-4)
    assert len(predictions(workdir)) == len(predictions(alone))


def test_a_checkpoint_of_one_process_resumes_in_two(preset, alone, tmp_path):
    train_here(preset, tmp_path, **{"steps": 10, "eval.test": False})
    ran = succeeded(two_by_four(preset, tmp_path))
    assert "resuming at step 10" in ran.stderr
    np.testing.assert_allclose(losses(tmp_path), losses(alone), rtol=1e-4)
    assert len(predictions(tmp_path)) == len(predictions(alone))


def test_a_dead_process_ends_the_others_and_is_named(preset, tmp_path):
    argv = [LOCAL, "-n", "2", "--devices-per-process", "4", f"--config={preset}", f"--workdir={tmp_path}", "--config.steps=100000"]
    process = subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step 2 "):
            break
    (victim,) = (
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and f"--workdir={tmp_path}" in _read(entry / "cmdline")
        and "JAX_PROCESS_ID=1" in _read(entry / "environ")
        and "bash" not in _read(entry / "cmdline")
    )
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    rest = process.stderr.read()
    status = process.wait(timeout=120)
    assert status not in (0, 143)
    assert re.search(r"process \d of 2 died with status", rest), rest[-2000:]
    assert time.monotonic() - killed < 120  # the promise, not a measurement


def _read(path):
    try:
        return path.read_text().replace("\0", " ")
    except OSError:
        return ""
