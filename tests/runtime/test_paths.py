"""A path is what the person who wrote it meant, wherever it is given."""

from pathlib import Path

import pytest

from lfm_jax.data.sources.folder import open_files, open_folder
from lfm_jax.data.sources.records import find_prepared
from lfm_jax.runtime.paths import expanded
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
