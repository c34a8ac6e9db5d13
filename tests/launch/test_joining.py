"""Joining other processes that are not there: words at once, and an end in one line instead of a silence and a C++ stack."""

import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.helpers.launching import environment

SECONDS = 3  # to wait for the others


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def listening():
    """listening(greeting) -> a port that accepts connections, and sends only these bytes."""
    servers, accepted = [], []

    def listen(greeting):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve():
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:  # closed at the end of the test
                    return
                accepted.append(connection)
                connection.sendall(greeting)

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    yield listen
    for open_one in [*servers, *accepted]:
        open_one.close()


def join(port, index, *options, seconds=SECONDS):
    """A process of two, which is to join the other at this port."""
    argv = [sys.executable, "-m", "lfm_jax", "train", "--config=tiny", "--workdir=never", f"--join_seconds={seconds}", *options]
    argv += [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={index}"]
    return subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_joining_what_is_not_there_ends_in_one_line(listening):
    """All processes at once: they only wait."""
    nobody, alone, silent, other = free_port(), free_port(), listening(b""), listening(b"SSH-2.0-something\r\n")
    tries = {
        "nobody listens": (join(nobody, 1), nobody, r"did not answer .* within 3 s \(Connection refused\)"),
        "a silent port": (join(silent, 1), silent, r"did not answer .* within 3 s \(it does not answer\)"),
        "another server": (join(other, 1), other, r"did not answer .* within 3 s \(something else listens there\)"),
        "port in use": (join(silent, 0), silent, r"port \d+ is in use on this machine"),
        "the other never comes": (join(alone, 0), alone, r"not all processes had joined by command line .* after 3 s"),
    }
    for name, (process, port, words) in tries.items():
        out, err = process.communicate(timeout=240)
        first, *rest = err.splitlines()
        index = 0 if name in ("port in use", "the other never comes") else 1
        assert first == f"joining 127.0.0.1:{port} as process {index} of 2, for at most 3 s", name
        assert len(rest) == 1 and rest[0].startswith("lfm") and re.search(words, rest[0]), (name, err)
        assert (process.returncode, out) == (2, ""), name


def test_processes_that_would_train_different_things_both_end_naming_the_fields():
    """Trained together all the same, they would hang or train on garbage."""
    port = free_port()
    options = [["--config.seed=0"], ["--config.seed=1", "--config.optim.lr=0.5"]]
    together = [join(port, index, *options[index], seconds=240) for index in range(2)]
    ended = [process.communicate(timeout=480) for process in together]
    for process, (_, err) in zip(together, ended, strict=True):
        assert process.returncode == 2
        assert "processes 0 and 1 differ in what they are to train; start all of them alike:" in err
        assert "config.seed: 0 and 1" in err and re.search(r"config\.optim\.lr: [\d.e-]+ and 0\.5", err)
        assert "config.batch_size" not in err and "Traceback" not in err
    assert not Path("never").exists()
