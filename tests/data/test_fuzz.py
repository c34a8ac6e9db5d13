"""Damaged image files: each is decoded or refused with a reason, in bounded time and memory, and none ends the process."""

import json
import subprocess
import sys

import pytest

from tests.helpers import damaged_images

FILES = 10_000
PEAK_BYTES = 2 << 30


def test_ten_thousand_damaged_files_are_decoded_or_refused_with_a_reason():
    command = [sys.executable, "-W", "ignore", damaged_images.__file__, "0", str(FILES)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ran.stdout.splitlines()
    if ran.returncode != 0:  # a crash, or a file over its time limit
        reached = int([line for line in lines if line.startswith("at ")][-1].split()[1])
        pytest.fail(f"{damaged_images.damaged(reached)[1]} ended the process with status {ran.returncode}:\n{ran.stderr}")
    report = json.loads(lines[-1])
    assert report["wrong"] == []
    assert report["decoded"] + report["refused"] == FILES
    assert min(report["decoded"], report["refused"]) > FILES // 5, "damage too light or too heavy to show anything"
    assert report["peak_bytes"] < PEAK_BYTES
