"""Test images are recognised, so that nothing is fitted on them, and validation images are not taken for them."""

import json

import pytest

from lfm_jax.data.sources.folder import open_folder
from lfm_jax.data.sources.open import open_validation
from lfm_jax.errors import DataError
from lfm_jax.evaluation.calibrate import calibrate_network
from lfm_jax.evaluation.leaks import known_from_tests, leak
from lfm_jax.weights.score import sigmoid


@pytest.mark.parametrize(
    "place",
    [
        *("ForenSynths", "foren_synths", "CNN_synth_testset", "gangen", "Ojha", "diffusion1KSTEP"),
        *("GANGen-Detection/x", "x/DiffusionForensics/y", "ForenSynths_train_val/test", "UniversalFakeDetect/val"),
    ],
)
def test_a_known_test_suite_is_recognised_in_any_spelling_and_at_any_depth(place, images, tmp_path):
    images(tmp_path / place)
    assert "test suite" in leak(open_folder(tmp_path / place))
    assert "test suite" in leak(open_folder(tmp_path))  # a folder that holds one


@pytest.mark.parametrize("place", ["val", "ForenSynths/val", "ForenSynths_train_val/train", "my_validation", "test"])
def test_validation_images_are_not_taken_for_test_images(place, images, tmp_path):
    """A folder called test counts as a test split only beside train or val."""
    assert leak(open_folder(images(tmp_path / place))) is None


def test_a_test_split_is_recognised_by_the_splits_beside_it(images, tmp_path):
    (tmp_path / "val").mkdir()
    images(tmp_path / "Test")
    assert "test split" in leak(open_folder(tmp_path / "Test"))
    assert "test split" in leak(open_folder(tmp_path))


def test_a_link_to_a_test_suite_is_one(images, tmp_path):
    images(tmp_path / "ForenSynths")
    (tmp_path / "val").symlink_to(tmp_path / "ForenSynths")
    assert "ForenSynths" in leak(open_folder(tmp_path / "val"))
    (tmp_path / "copy/gan/0_real").mkdir(parents=True)
    (tmp_path / "copy/gan/0_real/a.png").symlink_to(tmp_path / "ForenSynths/gan/0_real/a.png")
    assert "ForenSynths" in leak(open_folder(tmp_path / "copy"))


def test_the_validation_split_of_prepared_data_is_used(prepared, given_logits, tmp_path):
    source = open_validation(prepared("val", "test", "ForenSynths/val", "GANGen-Detection"))
    folders = [open_folder(tmp_path / "data" / place) for place in ("ForenSynths/val", "val")]
    assert [example.path for example in source.examples] == [example.path for folder in folders for example in folder.examples]
    assert leak(source) is None
    card, _ = calibrate_network(given_logits, source, protocol="native")
    assert card.threshold == pytest.approx(sigmoid(4 / card.temperature))
    assert card.calibration["data"] == f"{tmp_path / 'out'} (val)"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("test", "real_fake_folder/test is a test split"),
        ("ForenSynths/test", "forensynths/test is ForenSynths, a test suite"),
        ("GANGen-Detection", "gangen_detection/test is GANGen-Detection, a test suite"),
        ("GANGen-Detection/val", "gangen_detection/val is GANGen-Detection, a test suite"),
    ],
)
def test_prepared_test_images_are_recognised_by_their_data_set_and_split(place, words, prepared):
    assert leak(open_validation(prepared(place))) == words


def test_prepared_training_images_are_not_fitted_on(prepared):
    with pytest.raises(DataError, match="no val split in the prepared data"):
        open_validation(prepared("train"))


def test_the_images_that_a_workdir_was_tested_on_are_recognised_by_content(tmp_path):
    (tmp_path / "test/best").mkdir(parents=True)
    (tmp_path / "test/best/results.json").write_text(json.dumps({"data_sha256": "abc"}))
    assert "tested on" in known_from_tests(tmp_path, "abc")
    assert known_from_tests(tmp_path, "abd") is None
    assert known_from_tests(tmp_path / "weights.pth", "abc") is None
