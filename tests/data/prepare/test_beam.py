"""`lfm data prepare --engine=beam`: the records that one process writes, whoever does the work."""

import hashlib
import json
import shutil
import sys

import pytest

from lfm_jax.data.prepare import beam, tfds_builders, verify
from lfm_jax.data.prepare.beam import Beam, answers
from lfm_jax.data.prepare.manifest import MOST_RANGES, in_pieces, write_manifest
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources import records
from lfm_jax.errors import UserError
from tests.helpers.beam import TWO_PROCESSES, needs_beam, write_splits


@pytest.fixture
def root(noise, tmp_path):
    """Two splits, 36 images, names that are no UTF-8, and a file that is no image."""
    root = tmp_path / "data"
    write_splits(root, noise, {"train": 12, "val": 6}, (".png",))
    for first in root.glob("*/gan_a/*/00.png"):
        first.rename(first.with_name("00 \udcff.png"))
    (root / "val/gan_a/0_real/broken.png").write_bytes(b"\x89PNG cut")
    return root


def content(out):
    """What readers see: of each split the index and a hash of all records."""
    folder = records.find_one_prepared(out)
    splits = {split: records.TfdsRecords(folder, split) for split in records.splits_of(folder)}
    return {
        split: (
            records.index_file(folder, split).read_bytes(),
            hashlib.sha256(repr([sorted(stored[place].items()) for place in range(len(stored))]).encode()).hexdigest(),
        )
        for split, stored in splits.items()
    }


@pytest.mark.parametrize(
    "options",
    ["", "--direct_num_workers=2 --direct_running_mode=multi_threading", pytest.param(TWO_PROCESSES, marks=pytest.mark.slow)],
)
@needs_beam
def test_the_same_records_as_in_one_process(options, root, tmp_path, lfm, monkeypatch):
    monkeypatch.setattr(tfds_builders, "SHARD_BYTES", 10_000)  # more than ten shards, the last of them shorter
    monkeypatch.setattr(verify, "FILES_PER_TASK", 5)
    alone, out = tmp_path / "alone", tmp_path / "beam"
    assert lfm("data", "prepare", root, alone).status == 3
    ran = lfm("data", "prepare", root, out, "--engine=beam", f"--beam_options={options}")
    assert (ran.status, "broken.png" in ran.err) == (3, True)
    assert content(out) == content(alone)
    assert len(list(records.find_one_prepared(out).glob("*-train.array_record*"))) > 10
    names = [{path.name for path in records.find_one_prepared(folder).iterdir()} for folder in (alone, out)]
    assert names[0] == names[1]
    assert (out / "left_out.tsv").read_bytes() == (alone / "left_out.tsv").read_bytes()
    again = lfm("data", "prepare", root, out, "--engine=beam", "--whole")
    assert again.out.count("already there, verified") == 2


@needs_beam
def test_a_run_that_fails_keeps_what_workers_have_verified(root, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "FILES_PER_TASK", 5)
    original = verify.inspect_file

    def failing(file):
        if file.name == "11.png" and "val" not in file.parts and "1_fake" in file.parts:
            raise RuntimeError("the power went out")
        return original(file)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(verify, "inspect_file", failing)
        with pytest.raises(UserError, match=r"--engine=beam: .*the power went out"):
            prepare_folder(root, out, beam=Beam.parse(""))
    known = len((out / ".prepare/journal.jsonl").read_text().splitlines())
    assert known > 0
    prepare_folder(root, out, beam=Beam.parse(""))
    assert len((out / ".prepare/journal.jsonl").read_text().splitlines()) == 36
    prepare_folder(root, tmp_path / "alone")
    assert content(out) == content(tmp_path / "alone")


@needs_beam
def test_answers_that_a_killed_run_left_are_not_asked_for_again(root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare_folder(root, out)
    shutil.rmtree(records.find_one_prepared(out))
    journal, left = out / ".prepare/journal.jsonl", out / ".prepare/inspections"
    left.mkdir()
    (left / "00000000.json").write_text(json.dumps([json.loads(line) for line in journal.read_text().splitlines()]))
    journal.unlink()
    inspected = []
    original = verify.inspect_file
    monkeypatch.setattr(verify, "inspect_file", lambda file: inspected.append(file.name) or original(file))
    prepare_folder(root, out, beam=Beam.parse(""))
    assert set(inspected) == {"broken.png"}
    assert not left.exists()


@needs_beam
def test_a_file_that_changes_before_it_is_written_is_named(root, tmp_path, monkeypatch):
    def changed(file):
        return b"other bytes"

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(tfds_builders, "read", changed)
        with pytest.raises(UserError, match=r"\.png changed while it was being prepared"):
            prepare_folder(root, out, beam=Beam.parse(""))
    assert not records.find_prepared(out)
    prepare_folder(root, out, beam=Beam.parse(""))


@needs_beam
def test_answers_that_never_arrive_do_not_pass_for_good_ones(root, tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "_write_answer", print)  # as on workers whose folder of that name is another one
    with pytest.raises(UserError, match=r"1 of 1 answers are not in .*/inspections: do all workers see"):
        prepare_folder(root, tmp_path / "out", beam=Beam.parse(""))


@needs_beam
@pytest.mark.parametrize(
    ("options", "words"),
    [("--runner=Flunk", "Flunk"), ("--direct_running_mode=fast", "invalid choice"), ('--runner="', "No closing quotation")],
)
def test_options_that_beam_does_not_know_are_refused_in_one_line(options, words, root, tmp_path, lfm):
    ran = lfm("data", "prepare", root, tmp_path / "out", "--engine=beam", f"--beam_options={options}")
    assert (ran.status, ran.err.count("\n"), words in ran.err) == (2, 1, True)


def test_without_beam_one_line_names_the_extra(root, tmp_path, lfm, monkeypatch):
    for name in ("apache_beam", "apache_beam.options.pipeline_options"):
        monkeypatch.setitem(sys.modules, name, None)
    ran = lfm("data", "prepare", root, tmp_path / "out", "--engine=beam")
    assert (ran.status, ran.err) == (2, "lfm data prepare: --engine=beam takes Apache Beam: pip install 'lfm_jax[beam]'\n")
    assert "give both, or neither" in lfm("data", "prepare", root, tmp_path / "out", "--beam_options=--runner=DirectRunner").err


def test_ranges_of_a_manifest_give_its_rows_and_are_never_too_many(tmp_path):
    rows = [f"line\n{number}\r\u2028 \udcff" for number in range(7)]
    ranges = write_manifest(tmp_path / "manifest", in_pieces(rows, 3))
    assert [part.rows() for part in ranges] == [rows[:3], rows[3:6], rows[6:]]
    assert [part.first for part in ranges] == [0, 3, 6]
    assert len(list(in_pieces(range(10 * MOST_RANGES + 1), 3))) <= MOST_RANGES
    (tmp_path / "00000001.json").write_text("1")
    (tmp_path / "00000000.json").write_text("0")
    assert list(answers(tmp_path)) == [0, 1]
