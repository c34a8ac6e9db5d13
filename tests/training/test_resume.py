"""Runs that end early, are killed, stopped or out of disk, and continue to the same end."""

import re
import signal
import subprocess

import pytest

from lfm_jax.errors import ConfigError, PreemptedError
from lfm_jax.training import writers
from lfm_jax.training.loop import train_and_evaluate
from tests.helpers.launching import PRESET, environment, same_weights, values
from tests.helpers.training import dies_in_step, python, signal_in_step, small_config


@pytest.mark.parametrize("step", [4, 5])
def test_a_killed_run_resumes_to_the_same_end(whole_run, data_root, tmp_path, step):
    config = small_config(data_root)
    dies_in_step(step, lambda: train_and_evaluate(config, tmp_path))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "split": "tr')  # a line cut short
    results = train_and_evaluate(config, tmp_path)
    assert values(writers.read(tmp_path)) == values(writers.read(whole_run[0]))
    assert results["last"].predictions == whole_run[1]["last"].predictions
    assert same_weights(tmp_path, whole_run[0])


def test_a_finished_run_run_again_only_tests(whole_run, data_root):
    workdir, results = whole_run
    before = (workdir / "metrics.jsonl").read_text()
    again = train_and_evaluate(small_config(data_root), workdir)
    assert (workdir / "metrics.jsonl").read_text() == before
    assert again["last"].predictions == results["last"].predictions


def test_a_workdir_of_another_config_is_refused_naming_the_fields(whole_run, data_root):
    with pytest.raises(ConfigError) as caught:
        train_and_evaluate(small_config(data_root, **{"batch_size": 4, "optim.lr": 0.5, "log_every_steps": 3}), whole_run[0])
    assert "config.batch_size: 8 there, 4 now" in str(caught.value)
    assert "config.optim.lr: 0.01 there, 0.5 now" in str(caught.value)
    assert "log_every_steps" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"config\.average_decay: 0\.0 there, 0\.9 now"):
        train_and_evaluate(small_config(data_root, average_decay=0.9), whole_run[0])
    with pytest.raises(ConfigError, match=r"config\.model\.maps: 4 there, 5 now"):
        train_and_evaluate(small_config(data_root, **{"model.maps": 5}), whole_run[0])


def test_a_damaged_newest_checkpoint_is_moved_and_named(data_root, tmp_path, capsys):
    train_and_evaluate(small_config(data_root, steps=4), tmp_path)
    (damaged,) = (tmp_path / "checkpoints" / "last" / "4" / "optimizer").glob("_METADATA")
    damaged.write_text("{")
    train_and_evaluate(small_config(data_root), tmp_path)
    assert re.search(r"checkpoints/last/4 is damaged: .*; it is moved to .*set_aside-last-4", capsys.readouterr().err)
    steps = [line["step"] for line in writers.read(tmp_path) if line["split"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_run_told_to_stop_saves_that_step_and_resumes_to_the_same_end(whole_run, data_root, tmp_path, monkeypatch):
    signal_in_step(monkeypatch, 3, signal.SIGTERM)
    with pytest.raises(PreemptedError, match="a checkpoint of step 3 is saved"):
        train_and_evaluate(small_config(data_root), tmp_path)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert (tmp_path / "checkpoints" / "last" / "3" / "weights").is_dir()
    monkeypatch.undo()
    train_and_evaluate(small_config(data_root), tmp_path)
    assert values(writers.read(tmp_path)) == values(writers.read(whole_run[0]))
    assert same_weights(tmp_path, whole_run[0])


def test_checkpoints_are_also_saved_by_the_clock(data_root, tmp_path):
    rare = {"checkpoint.every_steps": 1000, "eval.every_steps": 1000, "eval.test": False}
    train_and_evaluate(small_config(data_root, **rare, **{"checkpoint.every_minutes": 1e-9}), tmp_path)
    assert {entry.name for entry in (tmp_path / "checkpoints" / "last").iterdir()} == {"5", "6"}  # keep = 2


def test_a_full_disk_is_reported_in_one_line_and_costs_no_earlier_checkpoint(whole_run, data_root, tmp_path):
    preset, workdir = tmp_path / "preset.py", tmp_path / "run"
    preset.write_text(
        f"from tests.helpers.training import small_config\n\n\ndef get_config():\n    return small_config({str(data_root)!r})\n"
    )
    ran = python("-m", "tests.helpers.full_disk", "train", f"--config={preset}", f"--workdir={workdir}")
    assert ran.returncode == 1, ran.stderr[-2000:]
    assert "File too large" in ran.stderr.splitlines()[-1]
    assert "Complete ones from before: 2, 4. Make room" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    train_and_evaluate(small_config(data_root), workdir)
    assert same_weights(workdir, whole_run[0])


SLOW_TO_SAVE = """
import time
from lfm_jax.weights.checkpoint import Checkpoints

Checkpoints.save_last = lambda *_: time.sleep(300)
"""


def test_a_second_ctrl_c_ends_a_run_at_once(tmp_path):
    """The first one is in test_storage: the run saves and ends."""
    preset, workdir = tmp_path / "preset.py", tmp_path / "run"
    preset.write_text(PRESET + SLOW_TO_SAVE)
    argv = ["lfm", "train", f"--config={preset}", f"--workdir={workdir}"]
    process = subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step 2 ") or line.startswith("saving after this step"):
            process.send_signal(signal.SIGINT)
        if line.startswith("saving after this step"):
            break
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert rest.strip() == "lfm train: interrupted"
    assert not list((workdir / "checkpoints" / "last").iterdir())
