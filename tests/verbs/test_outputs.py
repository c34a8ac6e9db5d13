"""What goes out: any file name in any encoding, to a terminal, a table, a spreadsheet or JSON, and never over an input."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from lfm_jax.inference.explain_files import explain_files
from lfm_jax.inference.records import write_records
from lfm_jax.report.files import predictions_table

HOSTILE = "esc\x1b]0;owned\x07 cr\rlf\nend.png"
SCORED = {"logit": 1.0, "score": 0.7, "label": "fake", "threshold": 0.5, "protocol": "native", "width": 64, "height": 64}
SCORED |= {"verdict": "trace found", "reasons": ["Because."], "why": "", "format": "PNG", "share": 1.0}


def written(format, *paths, to=None):
    out = to or io.StringIO(newline="")
    write_records([{"path": path, **SCORED} for path in paths], format, out)
    return out.getvalue() if to is None else to


@pytest.fixture
def save(noise, tmp_path):
    """save(name) -> the path of an image of that name, as text."""

    def write(name):
        try:
            noise(64, 64).save(tmp_path / name, format="PNG")
        except OSError:
            pytest.skip("this file system takes no such name")
        return str(tmp_path / name)

    return write


def test_a_carriage_return_makes_one_row_of_csv_and_tsv_not_two():
    (row,) = csv.DictReader(io.StringIO(written("csv", "a\rb.png"), newline=""))
    assert row["path"] == "a\rb.png"
    prediction = dict.fromkeys(("path", "suite", "generator", "label", "logit", "score", "protocol", "view", "weights"), "x")
    (row,) = csv.DictReader(io.StringIO(predictions_table([{**prediction, "path": "a\rb.png"}]), newline=""), delimiter="\t")
    assert row["path"] == "a\rb.png"


@pytest.mark.parametrize("name", ["=cmd|' calc'!A0.png", "+1.png", "-1.png", "@sum.png", "\t=1.png"])
def test_no_name_is_a_formula_in_a_spreadsheet_and_it_is_still_the_file(name, save, tmp_path, monkeypatch):
    save(name)
    (row,) = csv.DictReader(io.StringIO(written("csv", name), newline=""))
    assert row["path"][0] not in "=+-@\t"
    monkeypatch.chdir(tmp_path)
    assert os.path.samefile(row["path"], name)  # noqa: PTH121


def test_control_characters_of_a_name_do_not_reach_a_terminal(lfm, weights_file, save, tmp_path):
    path = save(HOSTILE)
    (tmp_path / "broken\x1b[2J.png").touch()
    ran = lfm("predict", "--weights", weights_file, path, tmp_path / "broken\x1b[2J.png")
    assert ran.status == 3
    assert not {"\x1b", "\x07", "\r"} & set(ran.out + ran.err)
    assert r"esc\x1b]0;owned\x07 cr\rlf\nend.png" in ran.out
    assert len(ran.out.split("\n\n")[0].splitlines()) == 3
    ran = lfm("predict", "--weights", weights_file, tmp_path / "none\x1b[2J")
    assert "\x1b" not in ran.out + ran.err
    ran = lfm("predict", "--weights", "none\x1b[2J.pth", path)
    assert (ran.status, "\x1b" in ran.err) == (2, False)


def test_csv_on_a_terminal_shows_control_characters():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert "\x1b" not in written("csv", HOSTILE, to=Terminal(newline="")).getvalue()


def test_json_lines_are_valid_utf8_and_give_any_name_back():
    names = [os.fsdecode(b"caf\xe9.png"), "\u56fe \U0001f600.png", "c1\x9b2J.png"]
    text = written("jsonl", *names)
    assert [json.loads(line)["path"] for line in text.encode().decode().splitlines()] == names
    assert "\u56fe \U0001f600" in text
    assert "\x9b" not in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("format", ["table", "jsonl", "csv"])
def test_no_encoding_of_stdout_costs_results(encoding, format, lfm, weights_file, save, monkeypatch):
    paths = [save(name) for name in ("plain.png", "\u56fe \u00e9 \U0001f600.png", os.fsdecode(b"caf\xe9.png"))]
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    monkeypatch.setattr(sys, "stdout", out)
    assert lfm("predict", "--weights", weights_file, "--format", format, *paths).status == 0
    lines = out.buffer.getvalue().split(b"\n\n")[0].splitlines()
    assert len(lines) == {"table": 5, "jsonl": 3, "csv": 4}[format]
    if format == "jsonl":
        assert [json.loads(line)["path"] for line in lines] == paths


def test_out_is_never_written_over_an_image_or_another_input(lfm, weights_file, save, tmp_path):
    image, other = save("in.png"), save("other.png")
    (tmp_path / "broken.txt").write_text("not a picture")
    before = {file: file.read_bytes() for file in (*tmp_path.iterdir(), weights_file)}
    for out, *paths in ((image, image), (image, other), (other, tmp_path), (tmp_path / "broken.txt",) * 2, (weights_file, image)):
        ran = lfm("predict", "--weights", weights_file, "--out", out, *paths)
        assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert f"--out={out}" in ran.err
        assert {file: file.read_bytes() for file in before} == before
    for _ in range(2):  # results may be written over
        assert lfm("predict", "--weights", weights_file, "--out", tmp_path / "results.txt", image).status == 0


def closing(*redirections, verb):
    command = f"{sys.executable} -m lfm_jax {verb} {' '.join(redirections)}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True)


def test_a_closed_stdout_is_refused_before_the_work_and_a_closed_stderr_is_not_mixed_into_results(weights_file, save):
    image, broken = save("a.png"), "gone.png"
    ran = closing(">&-", verb=f"predict --weights {weights_file} {image}")
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 2)  # the devices, and why not
    assert "standard output is closed" in ran.stderr
    ran = closing("2>&-", verb=f"predict --format=jsonl --weights {weights_file} {image} {broken}")
    assert ran.returncode == 3
    assert [json.loads(line)["path"] for line in ran.stdout.splitlines()] == [image, broken]


def test_names_as_long_as_a_file_system_takes_are_explained(tiny_detector, save, tmp_path):
    names = ["a" * 251 + ".png", "a" * 250 + "b.png", "\u56fe" * 83 + ".png"]
    paths = [save(name) for name in names]
    out = tmp_path / "out"
    assert explain_files(tiny_detector, paths, out, protocol="native", entries=False) == []
    assert {json.loads(file.read_text())["path"] for file in out.glob("*.json")} == set(paths)
    assert len(list(out.glob("*.png"))) == len(paths) + 1
