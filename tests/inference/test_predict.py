"""`lfm predict`: all three formats say the same, broken files are named in their place, the exit status is as promised."""

import csv
import dataclasses
import io
import json
import math
import os
import re
import sys
import tracemalloc

import numpy as np
import pytest

from lfm_jax.inference.predict import predict_files
from lfm_jax.inference.records import COLUMNS, write_records
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.io import Weights

LINE = re.compile(
    r"(?P<path>.*?) {2,}(?P<verdict>(no )?trace found|cannot tell) +(?P<score>[\d.]+) +(?P<width>\d+) x (?P<height>\d+)(?P<why>.*)"
)


@pytest.fixture(scope="module")
def photos(noise, tmp_path_factory):
    """Three images that the tiny detector calls real, fake, real."""
    folder = tmp_path_factory.mktemp("photos")
    noise(64, 64, strength=20).save(folder / "a.png")
    noise(61, 64, strength=255).save(folder / "b c.png")
    noise(64, 64, seed=1, strength=20).save(folder / "d.png")
    return folder


@pytest.fixture
def mixed(photos, tmp_path, noise):
    """Paths as a user may give them; the third and fifth cannot be scored."""
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    noise(16, 16).save(tmp_path / "small.png")
    return [photos / "d.png", photos / "a.png", tmp_path / "broken.jpg", photos / "b c.png", tmp_path / "small.png"]


def jsonl(text):
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines_hold_a_record_for_each_file_in_order(lfm, weights_file, tiny_detector, mixed):
    ran = lfm("predict", "--weights", weights_file, "--format", "jsonl", *mixed)
    records = jsonl(ran.out)
    assert [record["path"] for record in records] == [str(path) for path in mixed]
    assert [record.get("label", "error") for record in records] == ["real", "real", "error", "fake", "error"]
    for record in records:
        if "error" in record:
            assert record.keys() == {"path", "error"}
        else:
            alone = tiny_detector(record["path"])
            alone = dataclasses.replace(alone, reasons=list(alone.reasons))  # JSON has no tuples
            assert record["logit"] == pytest.approx(alone.logit, rel=1e-5)
            as_json = json.loads(json.dumps(dataclasses.asdict(alone)))
            rest = {name: value for name, value in as_json.items() if name not in ("logit", "score")}
            assert rest.items() <= record.items()
            assert record["score"] == pytest.approx(1 / (1 + math.exp(-record["logit"])))
    assert (records[3]["width"], records[3]["height"]) == (64, 61)
    assert "too small" in records[4]["error"]


def test_csv_says_the_same_as_json_lines(lfm, weights_file, mixed):
    records = jsonl(lfm("predict", "--weights", weights_file, "--format", "jsonl", *mixed).out)
    ran = lfm("predict", "--weights", weights_file, "--format", "csv", *mixed)
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert tuple(rows[0]) == COLUMNS
    assert "\r" not in ran.out
    said = [{"provenance": record["provenance"]["claim"]} if "provenance" in record else {} for record in records]
    joined = [
        {**record, **claim, "reasons": " ".join(record.get("reasons", []))} for record, claim in zip(records, said, strict=True)
    ]
    assert rows == [{name: str(record.get(name, "")) for name in COLUMNS} for record in joined]


def test_the_table_says_the_same_as_json_lines(lfm, weights_file, mixed):
    records = jsonl(lfm("predict", "--weights", weights_file, "--format", "jsonl", *mixed).out)
    ran = lfm("predict", "--weights", weights_file, *mixed)
    head, _, *lines = ran.out.split("\n\n")[0].splitlines()
    assert head.split() == ["image", "answer", "score", "size", "why"]
    rows = [LINE.fullmatch(line).groupdict() for line in lines]
    scored = [record for record in records if "error" not in record]
    assert [(row["path"], row["verdict"]) for row in rows] == [(record["path"], record["verdict"]) for record in scored]
    for row, record in zip(rows, scored, strict=True):
        assert float(row["score"]) == pytest.approx(record["score"], abs=1e-3)
        assert (int(row["width"]), int(row["height"])) == (record["width"], record["height"])


@pytest.mark.parametrize("format", ["table", "jsonl", "csv"])
def test_what_cannot_be_scored_is_named_on_stderr_and_gives_status_3(format, lfm, weights_file, mixed):
    ran = lfm("predict", "--weights", weights_file, "--format", format, *mixed)
    assert ran.status == 3
    assert "2 could not be scored" in ran.err
    for path, reason in ((mixed[2], "[Tt]runcated|not an image"), (mixed[4], "too small")):
        assert re.search(rf"{re.escape(str(path))}: .*({reason})", ran.err)
    for path in (mixed[0], mixed[1], mixed[3]):
        assert str(path) not in ran.err


@pytest.mark.parametrize("format", ["table", "jsonl", "csv"])
def test_if_every_image_is_scored_stderr_is_empty_and_the_status_0(format, lfm, weights_file, photos):
    ran = lfm("predict", "--weights", weights_file, "--format", format, photos)
    assert (ran.status, ran.err) == (0, "")
    assert all(name in ran.out for name in ("a.png", "b c.png", "d.png"))


def test_warnings_that_pil_has_for_programmers_do_not_reach_users(lfm, weights_file, noise, tmp_path, recwarn):
    noise(64, 64).quantize(16).save(tmp_path / "half_transparent.png", transparency=bytes(range(0, 256, 16)))
    assert lfm("predict", "--weights", weights_file, tmp_path).status == 0
    assert [str(warning.message) for warning in recwarn] == []


def test_a_missing_file_is_one_failure_among_others(lfm, weights_file, photos):
    ran = lfm("predict", "--weights", weights_file, "--format", "jsonl", "missing.png", photos / "a.png")
    assert ran.status == 3
    missing, good = jsonl(ran.out)
    assert missing == {"path": "missing.png", "error": "No such file or directory"}
    assert good["label"] == "real"


def test_a_folder_without_images_is_an_error(lfm, weights_file, tmp_path):
    (tmp_path / "no pictures").mkdir()
    (tmp_path / "no pictures" / "notes.txt").touch()
    ran = lfm("predict", "--weights", weights_file, tmp_path / "no pictures")
    assert "no pictures" in ran.err
    assert ran.status != 0


@pytest.mark.parametrize("format", ["table", "jsonl", "csv"])
def test_out_receives_what_the_terminal_would(format, lfm, weights_file, mixed, tmp_path):
    on_terminal = lfm("predict", "--weights", weights_file, "--format", format, *mixed)
    ran = lfm("predict", "--weights", weights_file, "--format", format, "--out", tmp_path / "out.txt", *mixed)
    assert (ran.status, ran.out, ran.err) == (3, "", on_terminal.err)
    assert (tmp_path / "out.txt").read_bytes().decode() == on_terminal.out


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_any_path_comes_back_as_it_was(format, lfm, weights_file, noise, tmp_path):
    paths = [tmp_path / name for name in ("\u00e9t\u00e9 \u56fe\u7247 \U0001f600.png", 'comma, "quote".png', "line\nbreak.png")]
    for path in paths:
        noise(64, 64).save(path)
    text = lfm("predict", "--weights", weights_file, "--format", format, *paths).out
    records = jsonl(text) if format == "jsonl" else csv.DictReader(io.StringIO(text, newline=""))
    assert [record["path"] for record in records] == [str(path) for path in paths]
    assert "\u56fe\u7247" in text  # readable, not \u-escaped


@pytest.mark.parametrize("format", ["table", "jsonl", "csv"])
def test_a_file_name_that_is_not_utf8_costs_no_results(format, lfm, weights_file, noise, photos, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        noise(64, 64).save(path, format="PNG")
    except OSError:
        pytest.skip("this file system takes no such name")
    out = tmp_path / "out.txt"
    ran = lfm("predict", "--weights", weights_file, "--format", format, "--out", out, path, photos / "a.png")
    assert ran.status == 0
    text = out.read_bytes().decode(errors="replace")
    assert "caf" in text
    assert "a.png" in text


@pytest.fixture
def other_card(tiny_detector, tmp_path):
    """The tiny detector on disk, with a threshold of nearly 1 and another protocol."""
    card = dataclasses.replace(tiny_detector.card, threshold=0.9999, protocol="crop32")
    variables = {name: dict(tree) for name, tree in tiny_detector.variables.items()}
    weights_io.save(tmp_path / "other.safetensors", Weights(variables, card))
    return tmp_path / "other.safetensors"


def test_protocol_and_threshold_are_those_of_the_weights(lfm, other_card, weights_file, photos):
    (record,) = jsonl(lfm("predict", "--weights", other_card, "--format", "jsonl", photos / "b c.png").out)
    assert (record["protocol"], record["threshold"], record["label"]) == ("crop32", 0.9999, "real")
    (record,) = jsonl(lfm("predict", "--weights", other_card, "--protocol", "native", "--format", "jsonl", photos / "b c.png").out)
    (plain,) = jsonl(lfm("predict", "--weights", weights_file, "--protocol", "native", "--format", "jsonl", photos / "b c.png").out)
    assert record["protocol"] == "native"
    assert record["logit"] == plain["logit"]
    assert plain["label"] == "fake"


def test_batch_size_and_threads_change_no_score(lfm, weights_file, photos):
    def logits(*options):
        ran = lfm("predict", "--weights", weights_file, "--format", "jsonl", *options, photos)
        return [record["logit"] for record in jsonl(ran.out)]

    np.testing.assert_allclose(logits("--batch_size", 1, "--threads", 1), logits(), rtol=1e-5)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_lines_are_on_disk_before_the_next_image_is_scored(format, given_logits, save_with_logit, tmp_path):
    """A run that is killed, or watched with tail -f, has shown all it knew."""
    paths = [save_with_logit(tmp_path / f"{index}.png", index) for index in range(3)]
    seen = []

    def watched():
        for record in predict_files(given_logits, [str(path) for path in paths], protocol="native"):
            seen.append((tmp_path / "out").read_text().count(".png"))
            yield record

    with open(tmp_path / "out", "w", newline="") as out:
        assert write_records(watched(), format, out) == (3, [])
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_nothing_is_kept_of_an_image_once_its_record_is_written(given_logits, save_with_logit, tmp_path, format):
    """So that the memory for a million images is that for a thousand, but for their paths. A record takes about 2 kB."""
    original = save_with_logit(tmp_path / "0.png", 3)
    for index in range(1, 700):
        os.link(original, tmp_path / f"{index}.png")
    early, late = [], []

    def watched(records):
        for number, record in enumerate(records):
            if 100 <= number < 200 or number >= 600:
                (early if number < 200 else late).append(tracemalloc.get_traced_memory()[0])
            yield record

    tracemalloc.start()
    try:
        with open(os.devnull, "w") as out:
            write_records(watched(predict_files(given_logits, [str(tmp_path)], protocol="native")), format, out)
    finally:
        tracemalloc.stop()
    assert (min(late) - min(early)) / 500 < 200


def test_write_counts_what_was_scored_and_returns_what_was_not(given_logits, save_with_logit, tmp_path):
    good = save_with_logit(tmp_path / "good.png", 1)
    records = predict_files(given_logits, [str(good), "gone.png"], protocol="native")
    assert write_records(records, "jsonl", io.StringIO()) == (1, [{"path": "gone.png", "error": "No such file or directory"}])


@pytest.mark.parametrize("format", ["table", "jsonl", "csv"])
def test_a_reader_that_goes_away_ends_the_run_quietly(format, lfm, weights_file, photos, monkeypatch):
    """lfm predict ... | head"""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        ran = lfm("predict", "--weights", weights_file, "--format", format, photos)
        assert (ran.status, ran.err) == (0, "")
        pipe.flush()  # as Python does when it ends
