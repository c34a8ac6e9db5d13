"""Two processes on this machine, one of them slow: the other waits for as long as it takes, and only the first gets the rows."""

import json
import socket
import subprocess
import sys

import pytest

import lfm_jax
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.cells import data_hash
from lfm_jax.evaluation.evaluate import evaluate_network
from lfm_jax.runtime.exchange import agreed, dealt, gather, to_main
from tests.helpers.launching import environment
from tests.helpers.two_processes import PART_IMAGES, PROTOCOL

IMAGES = 12  # and a broken one, so three parts
LATE = 3.0


@pytest.fixture(scope="module")
def root(noise, tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "suite"
    for index in range(IMAGES):
        folder = root / f"gan_{index % 3}" / ("0_real", "1_fake")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise(64, 64, seed=index, strength=20 + 10 * index).save(folder / f"{index}.png")
    (root / "gan_0" / "0_real" / "broken.png").write_bytes(b"\x89PNG")
    return root


def two_processes(late, *options):
    """Starts both, the second so many seconds late; -> their (status, output, errors)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.helpers.two_processes", port]
    both = [
        subprocess.Popen(
            [*map(str, [*command, number, late, *options])],
            env=environment(PYTHONPATH=":".join(sys.path), JAX_NUM_CPU_DEVICES="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    outputs = [process.communicate(timeout=200) for process in both]
    return [(process.returncode, *output) for process, output in zip(both, outputs, strict=True)]


def evaluated_together(late, weights, root, folder):
    ran = two_processes(late, weights, root, folder)
    for status, _, err in ran:
        assert status == 0, err[-3000:]
    return [json.loads(out.splitlines()[-1]) for _, out, _ in ran]  # gloo prints, too


def test_a_slow_process_is_waited_for_and_only_the_first_has_rows(weights_file, root, tmp_path):
    main, other = evaluated_together(LATE, weights_file, root, tmp_path / "cells")
    assert main["waited_s"] > LATE - 0.5
    source = open_folder(root)
    assert main["data_sha256"] == other["data_sha256"] == data_hash(source, threads=2)
    alone = evaluate_network(lfm_jax.load(weights_file), source, [PROTOCOL], batch_size=4)
    assert main["predictions"] == json.loads(json.dumps(alone.predictions))
    assert (main["rows"], main["errors"]) == (json.loads(json.dumps(alone.rows)), alone.errors)
    assert len(main["errors"]) == 1
    assert (other["predictions"], other["rows"], other["errors"]) == ([], [], [])
    assert main["same_again"] and other["same_again"]
    assert len(list((tmp_path / "cells").iterdir())) == -(-(IMAGES + 1) // PART_IMAGES)


def test_a_wait_that_is_too_long_ends_in_one_line(weights_file, root, tmp_path):
    (status, _, err), _ = two_processes(6, weights_file, root, tmp_path / "cells", 1)
    assert status == 1
    assert "ClusterError: process 0 waited for the others, for at most 1.0 s, and they did not come: " in err


@pytest.mark.slow
def test_hashing_may_take_longer_than_a_collective_would_wait(weights_file, root, tmp_path):
    """With the half minute that gloo has."""
    main, _ = evaluated_together(40, weights_file, root, tmp_path / "cells")
    assert main["waited_s"] > 39


def test_a_process_alone_does_all_the_work_and_keeps_its_order():
    pieces = [range(0, 3), range(5, 7), range(7, 7)]
    assert list(dealt(pieces, lambda numbers: (number * number for number in numbers))) == [[0, 1, 4], [25, 36], []]
    assert list(dealt([], lambda _: pytest.fail("there is nothing to do"))) == []
    assert to_main({"a": 1}) == [{"a": 1}]
    assert gather({"a": [1, None]}) == [{"a": [1, None]}]
    assert agreed(True) is True
