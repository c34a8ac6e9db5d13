"""A run that is killed again and again ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.helpers.launching import PRESET, environment, lines, same_weights

KILLS = 20 if os.environ.get("CI_FULL") else 3
STEPS = 40 * KILLS  # more than the lives of a run take together


def last_optimizer_state(workdir):
    """Step and optimizer state of the newest checkpoint."""
    folder = max((workdir / "checkpoints" / "last").iterdir(), key=lambda entry: int(entry.name))
    return folder.name, ocp.StandardCheckpointer().restore(folder / "optimizer")


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_bits_of_an_uninterrupted_one(tmp_path):
    """SIGKILL comes up to 2 s after the first step of each start. With a checkpoint every 5 steps, many hit a save."""
    preset = tmp_path / "preset.py"
    changes = {
        "config.steps = 20": f"config.steps = {STEPS}",
        "config.checkpoint.every_steps = 10": "config.checkpoint.every_steps = 5",
    }
    text = PRESET
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    preset.write_text(
        text.replace("return config", "config.eval.every_steps = 100\n    config.eval.test = False\n    return config")
    )

    def start(workdir):
        argv = ["lfm", "train", f"--config={preset}", f"--workdir={workdir}"]
        return subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    uninterrupted = start(tmp_path / "whole")
    rest = uninterrupted.communicate()[1]
    assert uninterrupted.returncode == 0, rest[-2000:]

    moments = random.Random(0)
    killed_at = []
    for _ in range(KILLS):
        process = start(tmp_path / "killed")
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("step "):
                break
        time.sleep(moments.uniform(0, 2))
        process.send_signal(signal.SIGKILL)
        rest = process.stderr.read()
        assert process.wait() == -signal.SIGKILL, f"the run ended before it was killed: {(''.join(said) + rest)[-2000:]}"
        killed_at.append(lines(tmp_path / "killed")[-1]["step"])
    last = start(tmp_path / "killed")
    rest = last.communicate()[1]
    assert last.returncode == 0, rest[-2000:]
    print("killed after steps", killed_at)

    for split in ("train", "val"):
        assert lines(tmp_path / "killed", split) == lines(tmp_path / "whole", split)
    assert same_weights(tmp_path / "killed", tmp_path / "whole")
    (step, ours), (same_step, theirs) = (last_optimizer_state(tmp_path / name) for name in ("killed", "whole"))
    assert step == same_step == str(STEPS)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))
