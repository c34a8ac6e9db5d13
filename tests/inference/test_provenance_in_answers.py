"""What a file says of its origin stands beside every answer, in every form of it, and changes none."""

import csv
import io
import json

import numpy as np
import pytest
from PIL.PngImagePlugin import PngInfo

import lfm_jax
from lfm_jax.data.provenance import GENERATED, NOTHING
from lfm_jax.inference.explain_files import explain_files

PARAMETERS = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7"


@pytest.fixture
def files(noise, tmp_path):
    """The same faint noise twice; the second file says that it was generated."""
    info = PngInfo()
    info.add_text("parameters", PARAMETERS)
    noise(64, 64, strength=20).save(tmp_path / "plain.png")
    noise(64, 64, strength=20).save(tmp_path / "says.png", pnginfo=info)
    return [tmp_path / "plain.png", tmp_path / "says.png"]


def test_every_record_of_json_lines_has_it_and_no_score_depends_on_it(lfm, weights_file, files):
    plain, says = map(json.loads, lfm("predict", "--weights", weights_file, "--format=jsonl", *files).out.splitlines())
    assert plain["provenance"] == {"claim": NOTHING, "findings": []}
    assert says["provenance"]["claim"] == GENERATED
    (finding,) = says["provenance"]["findings"]
    assert finding == {
        "kind": "png text",
        "says": '"parameters" is written by a Stable Diffusion tool',
        "excerpt": "a cat Steps: 20, Sampler: Euler a, CFG scale: 7",
        "claim": GENERATED,
    }
    for name in ("logit", "score", "label"):
        assert plain[name] == says[name]


def test_csv_has_it_in_words(lfm, weights_file, files):
    rows = list(csv.DictReader(io.StringIO(lfm("predict", "--weights", weights_file, "--format=csv", *files).out)))
    assert rows[0]["provenance"] == NOTHING
    assert rows[1]["provenance"] == f'{GENERATED} (png text: "parameters" is written by a Stable Diffusion tool)'


def test_the_table_has_a_line_below_it_only_for_files_that_say_something(lfm, weights_file, files):
    out = lfm("predict", "--weights", weights_file, *files).out
    notes = out.split("\n\n")[-1]
    assert "can be forged" in notes
    assert str(files[1]) in notes
    assert str(files[0]) not in notes
    assert "forged" not in lfm("predict", "--weights", weights_file, files[0]).out


def test_python_has_it_where_there_is_a_file(tiny_detector, files, noise):
    assert tiny_detector(files[1]).provenance.claim == GENERATED
    assert tiny_detector(noise(64, 64)).provenance is None
    streamed = list(tiny_detector.batches([files[0], np.asarray(noise(64, 64)), files[1]]))
    assert [one.provenance and one.provenance.claim for one in streamed] == [NOTHING, None, GENERATED]
    assert isinstance(tiny_detector(files[1]), lfm_jax.Prediction)


def test_explanations_have_it_in_the_json(tiny_detector, files, tmp_path):
    assert explain_files(tiny_detector, list(map(str, files)), tmp_path / "out", protocol="native", entries=False) == []
    claims = [json.loads((tmp_path / "out" / name).read_text())["provenance"]["claim"] for name in ("plain.json", "says.json")]
    assert claims == [NOTHING, GENERATED]


def test_what_a_file_says_cannot_spoil_the_picture_of_an_explanation(tiny_detector, noise, tmp_path):
    info = PngInfo()
    info.add_text("Software", r"NovelAI $\frac{$ \u56fe \x1b[2J " + "long " * 50)
    noise(64, 64).save(tmp_path / "a.png", pnginfo=info)
    assert tiny_detector.explain(tmp_path / "a.png").figure().startswith(b"\x89PNG")
