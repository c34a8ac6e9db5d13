"""`lfm predict --shard`: parts that are whole or not there, of the same images and weights, and their totals."""

import csv
import json
import os
import subprocess

import pytest

from lfm_jax.inference.shards import Shard, collect


@pytest.fixture(scope="module")
def photos(noise, tmp_path_factory):
    """Five images, of which the last cannot be scored."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(4):
        noise(64, 64, seed=index, strength=20 if index % 2 else 255).save(folder / f"{index}.png")
    (folder / "4.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    return folder


def records(folder):
    return [json.loads(line) for part in sorted(folder.glob("part-*.jsonl")) for line in part.read_text().splitlines()]


@pytest.fixture
def score(lfm, weights_file, photos, tmp_path):
    """Scores one part of the photos into a folder."""
    return lambda shard, *options: lfm(
        "predict", "--weights", weights_file, photos, f"--shard={shard}", f"--out={tmp_path / 'parts'}", *options
    )


def test_all_parts_together_hold_every_image_once_with_the_answers_of_a_single_run(score, lfm, weights_file, photos, tmp_path):
    assert [score(f"{index}/2").status for index in range(2)] == [3, 0]  # the first part has the broken file
    alone = [json.loads(line) for line in lfm("predict", "--weights", weights_file, photos, "--format=jsonl").out.splitlines()]
    together = sorted(records(tmp_path / "parts"), key=lambda record: record["path"])
    assert [record["path"] for record in together] == [record["path"] for record in alone]
    assert [record.get("verdict") for record in together] == [record.get("verdict") for record in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.get("logit") == pytest.approx(other.get("logit"), abs=1e-5)


def test_a_part_that_is_there_is_not_scored_again(score, tmp_path):
    score("1/2")
    (part,) = (tmp_path / "parts").glob("part-00001*")
    part.write_text("kept\n")
    ran = score("1/2")
    assert ran.status == 0
    assert "is there already" in ran.err
    assert part.read_text() == "kept\n"


def test_an_interrupted_part_leaves_nothing_under_its_name(score, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lfm_jax.inference.parts.write_records", interrupted)
    assert score("0/2").status == 130
    assert [file.name for file in (tmp_path / "parts").iterdir()] == ["shards.json"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(score, tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    score("1/2")
    part = tmp_path / "parts" / "part-00000-of-00002.jsonl"
    host = os.uname().nodename
    left, written = (part.with_name(f".{part.name}.{host}.{pid}.part") for pid in (gone.pid, os.getppid()))
    left.touch()
    written.touch()
    score("0/2")
    assert part.exists()
    assert [left.exists(), written.exists()] == [False, True]


@pytest.mark.parametrize("options", [["--protocol=crop48"], ["--threshold=0.7"], ["--format=csv"]])
def test_parts_of_other_work_are_refused_by_what_differs(score, options):
    score("0/2")
    ran = score("1/2", *options)
    assert ran.status == 2
    assert options[0].removeprefix("--").partition("=")[0] in ran.err


def test_another_number_of_parts_or_other_images_are_refused(score, photos, noise):
    score("0/2")
    assert "shards: 2 there, 3 now" in score("1/3").err
    extra = photos / "5.png"
    noise(64, 64).save(extra)
    try:
        assert "images: 5 there, 6 now" in score("1/2").err
    finally:
        extra.unlink()


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_totals_count_answers_failures_and_missing_parts(score, lfm, tmp_path, format):
    score("0/2", f"--format={format}")
    ran = lfm("predict", "--collect", tmp_path / "parts")
    assert ran.status == 1
    assert "1 of 2 parts are missing: 1." in ran.out
    score("1/2", f"--format={format}")
    ran = lfm("predict", "--collect", tmp_path / "parts")
    assert ran.status == 0
    assert ran.out.startswith("5 images: ")
    assert "1 could not be scored." in ran.out
    assert sum(collect(tmp_path / "parts").answers.values()) == 4


def test_more_parts_than_images_leave_empty_parts(score, tmp_path):
    assert score("6/7").status == 0
    assert collect(tmp_path / "parts").missing == [0, 1, 2, 3, 4, 5]
    assert score("6/7", "--format=csv").status == 2


def test_csv_parts_have_a_head_each(score, tmp_path):
    score("1/2", "--format=csv")
    (part,) = (tmp_path / "parts").glob("*.csv")
    with part.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


@pytest.mark.parametrize("text", ["8/8", "1", "-1/4", "a/b", "1/0"])
def test_what_is_no_part_is_refused(lfm, weights_file, text):
    with pytest.raises(ValueError, match="expected I/N"):
        Shard.parse(text)


def test_a_damaged_part_is_named(score, lfm, tmp_path):
    score("0/1")
    (part,) = (tmp_path / "parts").glob("part-*")
    part.write_text('{"verdict": "tra')
    ran = lfm("predict", "--collect", tmp_path / "parts")
    assert ran.status == 2
    assert "part-00000-of-00001.jsonl is damaged" in ran.err
    assert lfm("predict", "--collect", part.parent.parent).status == 2
