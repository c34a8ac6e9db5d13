"""The script for lent GPUs runs where almost nothing is installed, in the order of what matters, and loses nothing it has found."""

import itertools
import json
import os
import signal
import subprocess
import sys

import pytest

from benchmarks import bare, gpu, gpu_profile
from lfm_jax import config
from lfm_jax.bench.rows import Row
from tests.helpers.paths import REPOSITORY
from tests.helpers.without import HIDING

ABSENT = ("clu", "grain", "ml_collections", "orbax", "tensorboardX", "tensorflow_datasets")


class Fakes:
    """Sections that end, fail and are stopped, in place of the real ones."""

    def __init__(self, table, *_):
        self.table = table

    def in_order(self):
        return {"first": self.first, "failing": self.failing, "stopped": self.stopped, "last": self.first}

    def first(self):
        yield Row("lfm_jax", 8, images_per_s=10.0)

    def failing(self):
        yield Row("lfm_jax", 4, images_per_s=5.0)
        raise MemoryError("no room")

    def stopped(self):
        os.kill(os.getpid(), signal.SIGTERM)
        yield Row("never there", 8)


@pytest.fixture
def run_script(monkeypatch, tmp_path):
    """run_script(*options) -> exit status and what the file holds; the sections are Fakes, and signals are as before afterwards."""
    monkeypatch.setattr(gpu, "Sections", Fakes)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path / "gpu.json"), *options])
        return gpu.main(), json.loads((tmp_path / "gpu.json").read_text())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_signal_ends_the_script_with_all_rows_that_there_were(run_script, capsys):
    status, file = run_script()
    assert status == 1
    assert [(row["section"], row["what"], row["skipped"]) for row in file["rows"]] == [
        ("first", "lfm_jax", ""),
        ("failing", "lfm_jax", ""),
        ("failing", "failing", "MemoryError: no room"),
    ]
    assert file["stopped"].startswith("by a signal")
    assert file["machine"]["versions"]["jax"]
    assert "never there" not in capsys.readouterr().out


def test_sections_that_the_time_does_not_reach_are_named(run_script):
    _, file = run_script("--minutes=0")
    assert {row["what"]: row["skipped"] for row in file["rows"]} == dict.fromkeys(
        ("first", "failing", "stopped", "last"), "no time left"
    )


def test_the_stand_in_holds_what_the_real_config_holds():
    real = config.base().unlock()
    stands_in = bare.ConfigDict(real.to_dict())
    assert stands_in.to_dict() == real.to_dict()
    copied = stands_in.copy_and_resolve_references()
    for one in (real, copied):
        one.model.widths = (4, 8)
        one.update_from_flattened_dict({"model.pooling.k": 4, "data.crop": 48})
        one.update({"optim": {"lr": 0.5}})
    assert copied.to_dict() == real.to_dict()
    assert stands_in.data.crop == config.base().data.crop
    assert not hasattr(stands_in.data, "nothing_of_that_name")


def test_time_that_several_kernels_share_counts_once():
    assert gpu_profile.union([(0, 4), (1, 2), (3, 6), (8, 9)]) == 7


@pytest.mark.slow
@pytest.mark.full
def test_the_whole_script_runs_where_almost_nothing_is_installed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDING.format(absent=ABSENT))  # for its child process too
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "benchmarks/gpu.py", "--smoke", "--minutes=60", "--out", str(tmp_path / "gpu.json")]
    ran = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    file = json.loads((tmp_path / "gpu.json").read_text())
    sections = list(dict.fromkeys(row["section"] for row in file["rows"]))
    assert sections[:5] == ["inference bfloat16", "training bfloat16", "profiles", "PyTorch, inference", "PyTorch, training"]
    measured = {row["what"]: row for row in file["rows"] if row["images_per_s"]}
    for what in ("inference bfloat16", "training bfloat16"):
        whats = (what, f"{what}, {gpu.WITHOUT_KERNELS}", f"{what}, {gpu.PLAIN}")
        for form, way in itertools.product(whats, ("host to host", "host to host, 3 in flight", "on the device")):
            assert f"lfm_jax {form}, {way}" in measured
    assert {"PyTorch eager float32", "PyTorch compiled bfloat16"} <= measured.keys()
    assert not [row for row in file["rows"] if row["skipped"]]
    for what in ("score", "train"):
        assert file[f"profile, {what}"]["kernels"]
        assert "HloModule" in (tmp_path / f"gpu_{what}.hlo.txt").read_text()
