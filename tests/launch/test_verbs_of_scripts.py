"""The launch scripts train, or run the verb that their arguments begin with."""

import subprocess

import pytest

from tests.helpers.launching import LAUNCH, environment


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--config=c.py"], "lfm train --cluster=tpu --config=c.py"),
        (["evaluate", "--weights=w"], "lfm evaluate --cluster=tpu --weights=w"),
    ],
)
def test_a_tpu_pod(printing, arguments, command):
    env = environment(LFM_DIR="d") | {"PATH": printing}
    ran = subprocess.run([LAUNCH / "tpu_pod.sh", "pod", "us-x", *arguments], env=env, capture_output=True, text=True)
    assert ran.stdout.strip().endswith(command), ran.stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [(["--config=c.py"], "lfm train --config=c.py"), (["evaluate", "--weights=w"], "lfm evaluate --weights=w")],
)
def test_several_processes_of_one_machine(printing, arguments, command):
    argv = [LAUNCH / "local.sh", "-n", "2", "--devices-per-process", "1", *arguments]
    ran = subprocess.run(argv, env=environment() | {"PATH": printing}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert {command, f"[1] {command}"} >= set(ran.stdout.splitlines()) and command in ran.stdout
