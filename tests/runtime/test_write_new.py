"""A file that only one of several processes may write, and that no other reads half of."""

import os
import subprocess
import sys

import pytest

from lfm_jax.runtime.paths import write_new

WRITE = """
import os, sys
from pathlib import Path
from lfm_jax.runtime.paths import write_new
print(int(write_new(Path(sys.argv[1]), sys.argv[2].encode() * 1_000_000)))
"""


def test_the_first_of_several_processes_writes_the_file_and_the_others_learn_of_it(tmp_path):
    file = tmp_path / "common.json"
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, file, name], stdout=subprocess.PIPE, text=True) for name in "abcd"]
    wrote = [process.communicate(timeout=60)[0].strip() for process in writers]
    assert sorted(wrote) == ["0", "0", "0", "1"]
    assert file.read_text() == "abcd"[wrote.index("1")] * 1_000_000
    assert list(tmp_path.iterdir()) == [file]


def test_where_writing_fails_nothing_is_left_and_what_a_killed_process_left_goes(tmp_path):
    with pytest.raises(TypeError):
        write_new(tmp_path / "common.json", "no bytes")
    assert not list(tmp_path.iterdir())
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    (tmp_path / f".common.json.{os.uname().nodename[:50]}.{killed.pid}.part").write_bytes(b"half")
    assert write_new(tmp_path / "common.json", b"whole")
    assert [file.name for file in tmp_path.iterdir()] == ["common.json"]
