"""`lfm predict` for people: names that fit the terminal, each thing said once, and options that change the answer."""

import io
import json
import re

import pytest
from PIL import Image
from wcwidth import wcswidth

from lfm_jax.data.listing import Passed
from lfm_jax.inference.answers import answers_table, shortened, write_answers
from lfm_jax.inference.verdict import NOT_PROOF

NONE = {"verdict": "no trace found", "reasons": ["It is not above.", "Measured.", NOT_PROOF], "why": ""}
FOUND = {"verdict": "trace found", "reasons": ["It is above."], "why": ""}
BLIND = {"verdict": "cannot tell", "reasons": ["Not above.", "Blind to JPEG here."], "why": "blind to JPEG"}


def record(path, **answer):
    return {"path": path, "score": 0.25, "threshold": 0.5, "protocol": "crop256", "width": 4032, "height": 3024, **answer}


def little(share):
    return {"verdict": "cannot tell", "reasons": ["Not above.", f"Only {share} looked at."], "why": f"{share} looked at"}


def answers(records, failed=(), passed=None, width=None):
    out = io.StringIO()
    write_answers(records, failed, passed or Passed(), out, width=width)
    return out.getvalue()


@pytest.mark.parametrize("room", [12, 20, 33])
@pytest.mark.parametrize("name", ["short.png", "photos/2024/a very long name of a file.png", "\u56fe\u7247" * 12 + ".png"])
def test_a_name_fits_and_keeps_its_end(name, room):
    short = shortened(name, room)
    assert wcswidth(short) <= room
    assert short.endswith(name[-5:]) and short[0] == name[0]
    assert ("\u2026" in short) == (wcswidth(name) > room)


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_is_no_wider_than_the_terminal_and_whole_in_a_file(width):
    records = [record(f"/home/somebody/pictures/of/last/summer/{'x' * 60}/IMG_{i}.jpg", **BLIND) for i in range(3)]
    lines = answers(records, width=width).splitlines()
    assert max(map(wcswidth, lines)) <= width
    assert all(f"IMG_{i}.jpg" in lines[2 + i] and "blind to JPEG" in lines[2 + i] for i in range(3))
    assert records[0]["path"] in answers(records)
    assert "somebody" not in answers_table(records, width=width)  # what all names share is left out first


def test_each_thing_is_said_once_and_the_last_line_counts_every_file():
    records = [record("a.png", **NONE), record("b.png", **NONE), record("c.png", **FOUND), record("d.jpg", **BLIND)]
    records += [record("e.jpg", **little("0.5 %")), record("f.jpg", **little("0.8 %"))]
    text = answers(records, [record("g.jpg")], Passed({".txt": 2, "PDF": 1}))
    assert text.count("not proof of a real photograph") == text.count("Threshold 0.5") == text.count("Blind to JPEG here.") == 1
    assert text.count("looked at.") == 1
    assert "real" not in text.replace("real photograph", "")
    assert text.splitlines()[-1] == (
        "1 trace found, 2 no trace found, 3 cannot tell (2 too little looked at, 1 blind to JPEG), 1 could not be scored, "
        "3 skipped (2 .txt, 1 PDF)."
    )


@pytest.fixture(scope="module")
def photos(noise, tmp_path_factory):
    """Images of scores 0 to 1 for the tiny detector, one of them flat, and a file of another kind."""
    folder = tmp_path_factory.mktemp("photos")
    for strength in (20, 90, 255):
        noise(64, 64, strength=strength).save(folder / f"{strength}.png")
    Image.new("RGB", (64, 64), "white").save(folder / "white.png")
    (folder / "notes.txt").touch()
    return folder


@pytest.fixture
def predict(lfm, weights_file, photos):
    def run(*options):
        ran = lfm("predict", "--weights", weights_file, "--format", "jsonl", *options, photos)
        assert ran.status == 0, ran.err
        return {record["path"].rpartition("/")[2]: record for record in map(json.loads, ran.out.splitlines())}

    return run


def test_a_threshold_by_hand_and_an_unsure_range_change_the_answer(predict):
    scores = {name: record["score"] for name, record in predict().items()}
    high, low = scores["255.png"], scores["20.png"]
    assert low < 0.5 < high
    assert predict("--threshold", low / 2)["20.png"]["verdict"] == "trace found"
    assert predict("--threshold", low / 2)["20.png"]["label"] == "fake"
    answered = predict(f"--unsure={high - 1e-6},1")
    assert answered["255.png"]["verdict"] == "cannot tell" and "left open" in answered["255.png"]["reasons"][0]
    assert answered["255.png"]["label"] == "fake"
    assert answered["20.png"]["verdict"] == "no trace found"


def test_a_flat_picture_cannot_be_told(predict):
    assert (predict()["white.png"]["verdict"], predict()["white.png"]["why"]) == ("cannot tell", "flat")


def test_sorted_by_score_the_highest_comes_first_and_failures_last(lfm, weights_file, photos):
    ran = lfm("predict", "--weights", weights_file, "--format", "jsonl", "--sort", "score", "gone.png", photos)
    *scored, last = map(json.loads, ran.out.splitlines())
    assert [record["score"] for record in scored] == sorted((record["score"] for record in scored), reverse=True)
    assert last["path"] == "gone.png"


def test_a_table_names_what_was_skipped(lfm, weights_file, photos):
    ran = lfm("predict", "--weights", weights_file, photos)
    assert re.search(r"1 skipped \(1 \.txt\)\.$", ran.out)
    assert "notes" not in ran.err


@pytest.mark.parametrize(
    ("option", "words"),
    [("--threshold=1.5", "above 0 and below 1"), ("--unsure=0.7,0.3", "the lower first"), ("--unsure=0.5", "two scores")],
)
def test_mistaken_options_end_in_one_line(option, words, lfm, weights_file, photos):
    ran = lfm("predict", "--weights", weights_file, option, photos)
    assert ran.status == 2 and words in ran.err and option.partition("=")[2] in ran.err


def test_parquet_holds_what_json_lines_do(lfm, weights_file, photos, tmp_path, predict):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    ran = lfm("predict", "--weights", weights_file, "--format", "parquet", photos)
    assert ran.status == 2 and "--out=FILE.parquet" in ran.err
    ran = lfm("predict", "--weights", weights_file, "--format", "parquet", "--out", tmp_path / "a.parquet", photos, "gone.png")
    assert ran.status == 3
    frame = pandas.read_parquet(tmp_path / "a.parquet")
    records = list(predict().values())
    assert frame.path.tolist() == [*(record["path"] for record in records), "gone.png"]
    assert frame.verdict.tolist()[:-1] == [record["verdict"] for record in records]
    assert [list(reasons) for reasons in frame.reasons[:-1]] == [record["reasons"] for record in records]
    assert frame.score.tolist()[:-1] == [record["score"] for record in records]
    assert frame.error.tolist()[-1] == "No such file or directory"
