"""SIGKILL while a command writes: what it leaves is whole or not there, and the same command goes on to the same end.

Each is killed at the first and at a later change of its output folder, moments at which a random one seldom hits.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lfm_jax.data.sources import records
from lfm_jax.errors import UserError
from lfm_jax.evaluation.saved import read_evaluation
from lfm_jax.export import lfm_stablehlo
from lfm_jax.weights import io as weights_io
from tests.helpers.launching import environment
from tests.helpers.sweeps import SWEEP

SECONDS = 300


def start(argv):
    command = [sys.executable, "-m", "lfm_jax", *map(str, argv)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def state_of(folder):
    """What can be seen of a folder from outside: its files with their sizes and times."""
    seen = []
    for parent, _, names in os.walk(folder):  # passes over folders that are gone meanwhile, as Path.rglob does not
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            try:
                status = path.stat()
            except OSError:  # gone meanwhile
                continue
            seen.append((str(path), status.st_size, status.st_mtime_ns))
    return sorted(seen)


def killed(argv, folder, *, changes):
    """Run a command and kill it at that change of the folder. Returns whether it lived that long."""
    process, before, count = start(argv), state_of(folder), 0
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        now = state_of(folder)
        if now != before:
            before, count = now, count + 1
            if count == changes:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                return True
        time.sleep(0.001)
    process.kill()
    process.communicate()
    return False


def finish(argv):
    process = start(argv)
    err = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, err[-2000:]


def weights_or_nothing(target):
    """The hash of the weights at `target`, and what is stored of how to use them, None if there is nothing."""
    if not target.exists():
        return None
    try:
        loaded = weights_io.load(target)
    except UserError as error:
        assert target.is_dir() and ("incomplete" in str(error) or "no checkpoint" in str(error)), error
        return None
    return loaded.card.weights_sha256, loaded.card.threshold, loaded.card.temperature


@pytest.mark.slow
@pytest.mark.parametrize("target", ["w.safetensors", "checkpoint"])
def test_convert(target, weights_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    whole, argv = weights_or_nothing(weights_file), ["convert", weights_file, out / target]
    for changes in (1, 3):
        if killed(argv, out, changes=changes):
            assert weights_or_nothing(out / target) in (None, whole)
    if weights_or_nothing(out / target) is None:
        finish(argv)
    assert weights_or_nothing(out / target) == whole


@pytest.mark.slow
def test_export(weights_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    argv = ["export", f"--weights={weights_file}", "--format=stablehlo", out / "w.stablehlo"]
    for changes in (1, 2):
        killed(argv, out, changes=changes)
        if (out / "w.stablehlo").exists():
            lfm_stablehlo.load(out / "w.stablehlo")
    finish(argv)
    lfm_stablehlo.load(out / "w.stablehlo")
    assert {path.name for path in out.iterdir()} == {"lfm_stablehlo.py", "w.stablehlo"}


@pytest.mark.slow
def test_calibrate(weights_file, labelled_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    argv = [
        "calibrate",
        f"--weights={weights_file}",
        f"--data={labelled_folder}",
        "--protocol=native",
        f"--out={out / 'c.safetensors'}",
    ]
    seen = []
    for changes in (1, 2):
        killed(argv, out, changes=changes)
        seen.append(weights_or_nothing(out / "c.safetensors"))
    finish(argv)
    assert set(seen) <= {None, weights_or_nothing(out / "c.safetensors")}


@pytest.mark.slow
def test_data_prepare(labelled_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    argv = ["data", "prepare", labelled_folder, out]
    for changes in (2, 12):
        killed(argv, out, changes=changes)
        for folder in records.find_prepared(out).values():
            assert all(read_all(folder, split) for split in records.splits_of(folder))
    finish(argv)
    (folder,) = records.find_prepared(out).values()
    assert sum(len(read_all(folder, split)) for split in records.splits_of(folder)) == len(list(labelled_folder.rglob("*.png")))
    assert not list(folder.parents[1].glob("*/*.incomplete*"))


def read_all(folder, split):
    source = records.open_prepared_split(folder, "", split)
    return [source.encoded(index) for index in range(len(source.examples))]


@pytest.mark.slow
def test_evaluate(weights_file, labelled_folder, tmp_path):
    argv = ["evaluate", f"--weights={weights_file}", f"--data={labelled_folder}", "--protocol=native,crop48"]
    finish([*argv, f"--out={tmp_path / 'whole'}"])
    out = tmp_path / "out"
    out.mkdir()
    whole = read_evaluation(tmp_path / "whole").predictions
    for changes in (2, 6):
        killed([*argv, f"--out={out}"], out, changes=changes)
        if (out / "results.json").exists():
            assert read_evaluation(out).predictions == whole
    finish([*argv, f"--out={out}"])
    assert read_evaluation(out).predictions == whole
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
def test_sweep(tmp_path):
    preset, out = tmp_path / "sweep.py", tmp_path / "out"
    preset.write_text(SWEEP.replace("seeds=(0, 1)", "seeds=(0,)"))
    out.mkdir()
    finish(["sweep", f"--config={preset}", f"--out={tmp_path / 'whole'}"])
    for changes in (15, 40):
        killed(["sweep", f"--config={preset}", f"--out={out}"], out, changes=changes)
    finish(["sweep", f"--config={preset}", f"--out={out}"])

    def without_times(folder):
        return [line.rsplit(",", 1)[0] for line in (folder / "table.csv").read_text().splitlines()]

    assert without_times(out) == without_times(tmp_path / "whole")
