"""`lfm data check --engine=beam`: the report of one process, whoever reads the files. Runs where Beam is installed."""

import json

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data.audit import examination, prepared
from lfm_jax.data.audit.check import check_folder
from lfm_jax.data.audit.report import report_text
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources import records
from tests.helpers.beam import TWO_PROCESSES, needs_beam, write_splits


@pytest.fixture
def root(noise, tmp_path):
    """Two splits with a leak, a picture under both labels as PNG and BMP, one of 16 bits, broken files and an odd name."""
    root = tmp_path / "data"
    write_splits(root, noise, {"train": 14, "val": 6}, (".jpg", ".png"))
    train, val = root / "train/gan_a", root / "val/gan_a"
    (val / "0_real/leak.png").write_bytes((train / "0_real/01.png").read_bytes())
    Image.open(train / "0_real/03.png").save(train / "1_fake/both.bmp")
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(train / "0_real/deep.png")
    (train / "1_fake/broken.png").write_bytes(b"\x89PNG cut")
    (train / "1_fake/05.png").rename(train / "1_fake/05 \udcff.png")
    return root


def reports(lfm, root, tmp_path, options):
    out = {"": tmp_path / "alone", "beam": tmp_path / "beam"}
    statuses = [
        lfm("data", "check", root, f"--out={out['']}").status,
        lfm("data", "check", root, f"--out={out['beam']}", "--engine=beam", f"--beam_options={options}").status,
    ]
    assert sorted(path.name for path in out["beam"].iterdir()) == sorted(path.name for path in out[""].iterdir())
    return statuses, *((folder / "check.json").read_bytes() for folder in out.values())


@pytest.mark.parametrize("options", ["", pytest.param(TWO_PROCESSES, marks=pytest.mark.slow)])
@needs_beam
def test_the_same_report_as_in_one_process(options, root, tmp_path, lfm, monkeypatch):
    monkeypatch.setattr(examination, "FILES_PER_TASK", 5)
    statuses, alone, on_beam = reports(lfm, root, tmp_path, options)
    assert (statuses, on_beam) == ([3, 3], alone)
    report = json.loads(alone)
    assert {problem["kind"] for problem in report["problems"]} == {
        "real and fake", "leak", "more than 8 bits", "unreadable file"
    }  # fmt: skip
    assert [group["same"] for group in report["duplicates"]] == ["bytes", "pixels"]
    assert all(row["ap"] for row in report["format"] if row["split"] == "train")


@needs_beam
def test_prepared_data_is_read_back_by_workers(root, tmp_path, lfm, monkeypatch):
    monkeypatch.setattr(prepared, "RECORDS_PER_TASK", 7)
    prepare_folder(root, tmp_path / "out")
    index = records.index_file(records.find_one_prepared(tmp_path / "out"), "train")
    lines = index.read_text().splitlines()
    for place in (3, 20):
        lines[place] = json.dumps({**json.loads(lines[place]), "sha256": "0" * 64})
    index.write_text("\n".join(lines) + "\n")
    statuses, alone, on_beam = reports(lfm, tmp_path / "out", tmp_path, "")
    assert (statuses, on_beam) == ([3, 3], alone)
    assert [problem["kind"] for problem in json.loads(alone)["problems"]] == ["broken record"] * 2


def test_workers_need_a_folder_for_what_they_find(root, lfm, monkeypatch):
    monkeypatch.setattr("lfm_jax.data.prepare.beam.Beam.parse", lambda text: object())
    ran = lfm("data", "check", root, "--engine=beam")
    assert (ran.status, ran.err.count("\n"), "--out=" in ran.err) == (2, 1, True)


def test_of_very_many_files_formats_are_compared_on_a_sample(root, monkeypatch):
    whole = check_folder(root)
    monkeypatch.setattr(examination, "AUDITED", 5)
    sample = check_folder(root)
    assert {**sample, "format": []} == {**whole, "format": []}
    (row,) = (row for row in sample["format"] if row["split"] == "train")
    assert (row["real"]["images"], row["fake"]["images"]) == (5, 4)
    assert row["of"] == [15, 16]
    assert "formats of 5 of 15 real and of 4 of 16 fake images" in report_text(sample)
    assert "formats of" not in report_text(whole) and "of" not in whole["format"][0]
