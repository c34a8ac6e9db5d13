"""A few minutes on a lent machine leave one file, and the run goes on from it elsewhere."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lfm_jax.training import writers
from tests.helpers.launching import LAUNCH

SCRIPT = LAUNCH / "lent_gpu.sh"
TINY = {
    "config.steps": 4,
    "config.batch_size": 8,
    "config.model.widths": (4, 8, 8, 8),
    "config.model.maps": 4,
    "config.model.pooling.k": 4,
    "config.data.source": "synthetic",
    "config.data.synthetic.side": 64,
    "config.data.synthetic.train": 24,
    "config.data.synthetic.val": 8,
    "config.data.crop": 48,
    "config.data.aligned.share": 0.0,
    "config.data.workers": 0,
    "config.eval.protocol": "native",
    "config.optim.warmup_steps": 0,
    "config.log_every_steps": 1,
}


def options(**changes):
    return [f"--{name}={value}" for name, value in (TINY | changes).items()]


def run(*words, **env):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(list(map(str, words)), env=environment | env, capture_output=True, text=True)


@pytest.mark.slow
def test_a_run_goes_on_on_another_machine(tmp_path):
    here, there = tmp_path / "lent", tmp_path / "other"
    ran = run(SCRIPT, 30, here, *options())
    assert ran.returncode == 0, ran.stderr
    assert "24 training images lie on every device" in ran.stderr
    with tarfile.open(f"{here}.tar") as tar:
        assert {"config.json", "metrics.jsonl", "checkpoints"} <= {name.split("/")[0] for name in tar.getnames()}
    more = options(**{"config.steps": 6, "config.data.resident": False})  # a machine with less memory
    ran = run(SCRIPT, 30, there, *more, BEGUN=f"{here}.tar")
    assert ran.returncode == 0, ran.stderr
    assert "resuming at step 4" in ran.stderr
    assert [line["step"] for line in writers.read(there) if line["split"] == "train"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("words", "message"), [(["8"], "expected minutes and a workdir"), (["8m", "DIR"], "8m: expected minutes")])
def test_a_mistake_is_named(words, message):
    ran = run(SCRIPT, *words)
    assert ran.returncode == 2
    assert message in ran.stderr
