"""`lfm export --format=hub`: a folder that can be uploaded as it is, and loads as the weights it was made from."""

import json
import re

import pytest
import yaml

from lfm_jax.export.hub import model_card
from lfm_jax.weights import io as weights_io


def head(text):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.S)[1])


@pytest.fixture
def folder(lfm, weights_file, tmp_path):
    ran = lfm("export", f"--weights={weights_file}", "--format=hub", tmp_path / "lfm-mine")
    assert ran.status == 0, ran.err
    assert "next to it: config.json, README.md" in ran.out and "compared with lfm predict" in ran.out
    return tmp_path / "lfm-mine"


def test_the_folder_loads_as_the_weights_it_was_made_from(folder, weights_file):
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    made, source = weights_io.load(folder / "model.safetensors").card, weights_io.load(weights_file).card
    assert made.weights_sha256 == source.weights_sha256
    config = json.loads((folder / "config.json").read_text())
    assert (config["weights_sha256"], config["protocol"]) == (source.weights_sha256, source.protocol)
    assert config["preprocessing"]["crop"] == 256


def test_the_readme_has_a_head_that_the_hub_reads_and_says_what_an_answer_is_worth(folder):
    text = (folder / "README.md").read_text()
    assert head(text) == {
        "license": "unknown",
        "library_name": "lfm_jax",
        "pipeline_tag": "image-classification",
        "tags": ["ai-generated-image-detection", "image-forensics", "jax"],
    }
    assert "--weights=hf://OWNER/lfm-mine photo.png" in text
    assert "does not show that the image is a photograph" in text
    assert "{{" not in text and "{%" not in text


def test_the_hubs_own_library_takes_the_readme(folder):
    hub = pytest.importorskip("huggingface_hub", reason="reads model cards")
    card = hub.ModelCard((folder / "README.md").read_text())
    assert card.data.license == "unknown" and card.data.library_name == "lfm_jax"


def test_licence_training_and_calibration_are_those_of_the_card(weights_file):
    card = weights_io.load(weights_file).card
    card.licence, card.training = "Apache-2.0", {"data": "photos: ### of 'é'", "steps": 7}
    card.calibration = {"protocol": "crop256", "oracle": True}
    text = model_card(card, "odd: name")
    assert head(text)["license"] == "apache-2.0"
    assert [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S)] == [card.training, card.calibration]
    assert "fitted on test images" in text


def test_other_files_in_the_folder_stay(lfm, weights_file, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / ".gitattributes").write_text("keep")
    assert lfm("export", f"--weights={weights_file}", "--format=hub", tmp_path / "there").status == 0
    assert (tmp_path / "there" / ".gitattributes").read_text() == "keep"


def test_a_file_in_place_of_the_folder_and_a_side_are_refused(lfm, weights_file, tmp_path):
    (tmp_path / "file").write_text("keep")
    ran = lfm("export", f"--weights={weights_file}", "--format=hub", tmp_path / "file")
    assert ran.status == 2 and "is a file; --format=hub writes a folder" in ran.err
    ran = lfm("export", f"--weights={weights_file}", "--format=hub", "--side=256", tmp_path / "folder")
    assert ran.status == 2 and "--side=256: hub holds weights" in ran.err
    assert not (tmp_path / "folder").exists()
