"""A real SLURM on this machine: a job submitted, cancelled and submitted again ends as if nothing had happened."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.launching import LAUNCH, PRESET, environment, lines, losses, same_weights

SLURM = Path(__file__).with_name("slurm.sh")
SILENCE = 300  # s without a new line after which a job counts as stuck; how long it takes depends on what else the machine does
STEPS = ("--config.steps=60", "--config.eval.test=False")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "sbatch"))) or os.geteuid() != 0,
        reason="needs root and Debian's packages slurm-wlm and munge",
    ),
]


@pytest.fixture
def slurm(tmp_path):
    """submit(workdir, ...) returns a job id; wait(job) returns its log once it has left the queue; log(job) the log so far."""
    folder = tmp_path / "slurm"
    started = subprocess.run([SLURM, "start", folder], capture_output=True, text=True, timeout=60)
    if started.returncode:
        subprocess.run([SLURM, "stop", folder], check=True)
        pytest.skip(f"no SLURM can be started on this machine: {started.stderr[-500:]}")
    env = environment(SLURM_CONF=str(folder / "slurm.conf"), JAX_NUM_CPU_DEVICES="2")
    env["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "programs")
    preset = tmp_path / "preset.py"
    preset.write_text(PRESET)

    def command(*argv):
        return subprocess.run(argv, env=env, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def submit(workdir, *options):
        script = [LAUNCH / "slurm.sh", f"--config={preset}", f"--workdir={workdir}", *options]
        return command("sbatch", "--parsable", "--ntasks=2", "--overcommit", *script)

    def log(job):
        path = tmp_path / f"lfm-{job}.log"
        return path.read_text() if path.exists() else ""

    def wait(job, until=lambda: False):
        seen, deadline = "", time.monotonic() + SILENCE
        while command("squeue", "--noheader", "--jobs", job) and not until():
            if (now := log(job)) != seen:
                seen, deadline = now, time.monotonic() + SILENCE
            assert time.monotonic() < deadline, now[-3000:]
            time.sleep(0.5)
        return log(job)

    yield submit, wait, log, command
    subprocess.run([SLURM, "stop", folder], check=True)


def test_a_cancelled_and_resubmitted_job_ends_like_an_uninterrupted_one(slurm, tmp_path):
    submit, wait, log, command = slurm
    whole = wait(submit(tmp_path / "whole", *STEPS))
    assert "process 0 of 2 by SLURM" in whole
    assert "4 cpu device(s), 2 here" in whole
    assert len(losses(tmp_path / "whole")) == 60, whole[-3000:]

    job = submit(tmp_path / "cancelled", *STEPS)
    wait(job, until=lambda: "step 20 " in log(job))
    command("scancel", job)
    assert "told to stop: a checkpoint of step" in wait(job)
    stopped_at = lines(tmp_path / "cancelled")[-1]["step"]
    assert 20 <= stopped_at < 60
    again = wait(submit(tmp_path / "cancelled", *STEPS))
    assert f"resuming at step {stopped_at}" in again
    assert lines(tmp_path / "cancelled") == lines(tmp_path / "whole")
    assert same_weights(tmp_path / "cancelled", tmp_path / "whole")


@pytest.mark.full
def test_a_job_that_is_told_to_stop_goes_back_to_the_queue_and_resumes(slurm, tmp_path):
    """The signal goes to the tasks alone, as it does before the time limit."""
    submit, wait, log, command = slurm
    job = submit(tmp_path / "run", *STEPS)
    wait(job, until=lambda: "step 20 " in log(job))
    command("scancel", "--signal=TERM", job)
    ended = wait(job)
    assert "told to stop, and saved: back to the queue" in ended
    assert "resuming at step" in ended
    assert len(losses(tmp_path / "run")) == 60, ended[-3000:]
