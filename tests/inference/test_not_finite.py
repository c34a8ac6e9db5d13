"""Weights whose logits are not finite give no answer: an error for the image and status 3, never "real"."""

import json

import numpy as np
import pytest

from lfm_jax.data.images import ImageError
from lfm_jax.inference.detector import Detector
from lfm_jax.inference.predict import predict_files
from lfm_jax.weights import io as weights_io


class Overflowing(Detector):
    """Its logit is NaN where the first pixel is red, +inf where it is green, -inf where it is blue, and 1 elsewhere."""

    def __init__(self, like):
        super().__init__(like.model, like.variables, like.card)

    def logits_async(self, images, *, sizes=None):
        strongest = images[:, 0, 0].argmax(-1)
        return np.where(images[:, 0, 0].any(-1), np.array([np.nan, np.inf, -np.inf], np.float32)[strongest], 1.0)


@pytest.fixture
def overflowing(tiny_detector):
    return Overflowing(tiny_detector)


@pytest.fixture
def pictures(tmp_path):
    """Labelled images: the fakes score NaN and 1, the reals +inf and -inf."""
    from PIL import Image

    for name, colour in {"0_real/g": (0, 9, 0), "0_real/b": (0, 0, 9), "1_fake/r": (9, 0, 0), "1_fake/w": (0, 0, 0)}.items():
        path = tmp_path / "data/gan" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), colour).save(path)
    return tmp_path / "data"


@pytest.fixture
def loaded(overflowing, monkeypatch):
    """What `lfm` loads in place of any weights."""
    monkeypatch.setattr("lfm_jax.inference.detector.load", lambda path, **_: overflowing)


def test_a_logit_that_is_not_finite_is_an_error_with_its_reason(overflowing, pictures):
    records = list(predict_files(overflowing, [str(pictures)], protocol="native"))
    assert [record.get("label", "error") for record in records] == ["error", "error", "error", "fake"]
    assert [record["error"].split(",")[0].rpartition(" ")[2] for record in records[:3]] == ["-inf", "inf", "nan"]
    with pytest.raises(ImageError, match="nan, which is neither real nor fake"):
        overflowing(pictures / "gan/1_fake/r.png")
    with pytest.raises(ImageError, match="neither real nor fake"):
        overflowing.explain(pictures / "gan/0_real/g.png", protocol="native")


@pytest.mark.usefixtures("loaded")
def test_predict_gives_status_3_and_json_without_nan(lfm, pictures):
    ran = lfm("predict", "--weights=w", "--format=jsonl", "--protocol=native", pictures)
    assert ran.status == 3
    assert "3 could not be scored" in ran.err
    for line in ran.out.splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


@pytest.mark.usefixtures("loaded")
def test_evaluate_counts_it_out_and_calibrate_says_in_one_line_why_it_cannot(lfm, pictures, tmp_path, monkeypatch):
    ran = lfm("evaluate", "--weights=w", "--data", pictures, "--protocol=native", "--out", tmp_path / "out")
    assert ran.status == 3
    results = json.loads((tmp_path / "out/results.json").read_text(), parse_constant=pytest.fail)
    assert len(results["errors"]) == 3
    monkeypatch.setattr(weights_io, "check_target", lambda *_: None)
    ran = lfm("calibrate", "--weights=w", "--data", pictures, "--protocol=native", "--out", tmp_path / "w2.safetensors")
    assert ran.status == 2
    assert "0 real and 1 fake images were scored" in ran.err
    assert "neither real nor fake" in ran.err
    assert ran.err.count("\n") == 1
