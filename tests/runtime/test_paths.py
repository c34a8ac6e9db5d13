"""A path is what the person who wrote it meant, wherever it is given; a file is there whole or not at all."""

import contextlib
import os
import resource
import signal
from pathlib import Path

import pytest

from lfm_jax.data.sources.folder import open_files, open_folder
from lfm_jax.data.sources.records import find_prepared
from lfm_jax.runtime.paths import expanded, replacing, write_whole
from lfm_jax.runtime.storage import as_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.parametrize("text", ["~/a b", "'~/a b'", '"~/a b"'])
def test_a_home_folder_and_quotes_are_taken_as_they_were_meant(text, home):
    assert expanded(text) == as_path(text) == home / "a b"


@pytest.mark.parametrize("name", ["'quoted'", "~", "~odd"])
def test_a_file_that_is_called_that_is_meant(name, home, tmp_path):
    (tmp_path / name).touch()
    assert expanded(name) == Path(name)


@pytest.mark.parametrize("text", ["~nobody-of-that-name/x", "'", "''", "plain/path", "."])
def test_everything_else_is_left_as_it_is(text):
    assert expanded(text) == Path(text)


def test_data_is_found_in_a_home_folder(home, noise, lfm):
    for label in ("0_real", "1_fake"):
        (home / "data" / label).mkdir(parents=True)
        noise(40, 40, seed=ord(label[0])).save(home / "data" / label / "1.png")
    assert len(open_folder("~/data").examples) == len(open_folder("'~/data'").examples) == 2
    assert open_files(["~/data/0_real/1.png", "~/data/1_fake"]).image(1).size == (40, 40)
    assert lfm("data", "check", "~/data", "--out=~/check").status == 0
    assert (home / "check/check.json").is_file()
    assert lfm("data", "prepare", "~/data", "~/prepared").status == 0
    assert find_prepared("~/prepared") == find_prepared(home / "prepared") != {}


def test_results_and_images_are_found_in_a_home_folder(home, noise, weights_file, lfm):
    """argparse passes `--out=~/x` on as it is: no shell expands a tilde behind an equals sign."""
    noise(40, 40, seed=1).save(home / "a.png")
    given = [f"--weights={weights_file}", "--protocol=native"]
    assert lfm("predict", "~/a.png", *given, "--format=csv", "--out=~/scores.csv").status == 0
    assert (home / "scores.csv").is_file()
    ran = lfm("predict", "~/a.png", *given, "--out=~/a.png")
    assert (ran.status, "would be overwritten" in ran.err) == (2, True)
    assert lfm("explain", "~/a.png", *given, "--out=~/seen").status == 0
    assert (home / "seen" / "a.json").is_file()
    ran = lfm("compare", "~/one", "~/other")
    assert str(home / "one") in ran.err


@contextlib.contextmanager
def full_disk():
    """Inside, no file may grow beyond 20 bytes, also not the one that pytest may be writing to."""
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("older", [None, b"older"])
def test_a_full_disk_leaves_the_older_file_and_nothing_beside_it(tmp_path, older):
    file = tmp_path / "results.json"
    if older:
        file.write_bytes(older)
    with pytest.raises(OSError, match="File too large"), full_disk():
        write_whole(file, b"x" * 1000)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == ({file: older} if older else {})


@pytest.mark.parametrize("several_writers", [False, True])
def test_an_interrupt_leaves_the_older_file_and_nothing_beside_it(tmp_path, several_writers):
    file = tmp_path / "part.jsonl"
    file.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt), replacing(file, several_writers=several_writers) as partial:
        partial.write_bytes(b"half of")
        assert file.read_bytes() == b"older"
        raise KeyboardInterrupt
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


@pytest.mark.parametrize("name", ["a" * 255, "\N{SNOWMAN}" * 85, os.fsdecode(b"\xe4" * 255)], ids=["ascii", "utf-8", "bytes"])
def test_a_file_may_have_the_longest_name_there_is(tmp_path, name):
    for several_writers in (False, True):
        with replacing(tmp_path / name, several_writers=several_writers) as partial:
            partial.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    file = tmp_path / "cell.json"
    with pytest.raises(FileNotFoundError), replacing(file) as partial:
        pass  # nothing is written
    partial.write_bytes(b"left by a kill")
    write_whole(file, b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]
