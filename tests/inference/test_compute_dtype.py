"""--compute_dtype: what images are scored in, whatever the weights were trained in."""

import json

import numpy as np
import pytest

from lfm_jax.inference import detector
from lfm_jax.weights import io


@pytest.fixture
def trained_in_bfloat16(tmp_path, weights_file):
    weights = io.load(weights_file)
    weights.card.model["compute_dtype"] = "bfloat16"
    io.save(tmp_path / "w.safetensors", weights)
    return tmp_path / "w.safetensors"


def test_weights_trained_in_bfloat16_are_scored_in_float32_unless_asked(trained_in_bfloat16, weights_file, noise):
    images = np.stack([noise(64, 64, strength=strength) for strength in (20, 120, 255)])
    expected = detector.load(weights_file).logits(images)
    assert (detector.load(trained_in_bfloat16).logits(images) == expected).all()
    in_bfloat16 = detector.load(weights_file, compute_dtype="bfloat16").logits(images)
    assert (in_bfloat16 != expected).any()
    np.testing.assert_allclose(in_bfloat16, expected, atol=0.05 * np.abs(expected).max())  # 8 bits of mantissa, a few layers


def test_predict_takes_it_and_parts_of_one_folder_agree_on_it(lfm, noise, weights_file, tmp_path):
    noise(64, 64).save(tmp_path / "a.png")
    command = ("predict", tmp_path / "a.png", f"--weights={weights_file}")

    def logit(*options):
        return json.loads(lfm(*command, "--format=jsonl", *options).out)["logit"]

    assert logit() == logit("--compute_dtype=float32") != logit("--compute_dtype=bfloat16")
    parts = ("--parts=1", f"--out={tmp_path / 'parts'}")
    assert lfm(*command, *parts).status == 0
    refused = lfm(*command, *parts, "--compute_dtype=bfloat16")
    assert refused.status == 2 and "compute_dtype: 'float32' there, 'bfloat16' now" in refused.err


def test_an_evaluation_in_bfloat16_takes_no_scores_of_one_in_float32(lfm, tmp_path, weights_file, noise):
    for label, strength in (("0_real", 20), ("1_fake", 255)):
        folder = tmp_path / "data" / "group" / label
        folder.mkdir(parents=True)
        for index in range(2):
            noise(64, 64, strength=strength).save(folder / f"{index}.png")
    command = ("evaluate", f"--weights={weights_file}", f"--data={tmp_path / 'data'}", "--protocol=native")

    def logits(*options):
        assert lfm(*command, f"--out={tmp_path / 'out'}", *options).status == 0
        lines = (tmp_path / "out/predictions.tsv").read_text().splitlines()
        return [line.split("\t") for line in lines[1:]]

    first = logits()
    assert logits("--compute_dtype=bfloat16") != first == logits("--compute_dtype=float32")
    assert len(list((tmp_path / "out/cells").iterdir())) == 2
