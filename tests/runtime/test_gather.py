"""Processes that exchange values through the coordination service, one of them late: all get what all had, in order."""

import json
import socket
import subprocess
import sys
from subprocess import PIPE

from tests.helpers.exchanging import LONG, ROUNDS
from tests.helpers.launching import environment

COUNT, LATE = 3, 1.5


def test_every_process_gets_the_values_of_all_however_late_or_long_they_are():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = environment(PYTHONPATH=":".join(sys.path), JAX_NUM_CPU_DEVICES="1")
    command = [sys.executable, "-m", "tests.helpers.exchanging"]
    started = [
        subprocess.Popen([*command, *map(str, (port, number, COUNT, LATE))], env=env, stdout=PIPE, stderr=PIPE, text=True)
        for number in range(COUNT)
    ]
    for number, process in enumerate(started):
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err[-3000:]
        got = json.loads(out.splitlines()[-1])
        assert got["gathered"] == [[{"number": other, "round": turn} for other in range(COUNT)] for turn in range(ROUNDS)]
        assert got["to_main"] == (list(range(COUNT)) if number == 0 else None)
        assert got["lengths"] == [0, LONG, LONG]
        assert got["agreed"] == "by 0"
