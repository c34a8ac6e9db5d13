"""The detector in Python: streams and folders give the same answers as single calls, and notebooks claim no more than was found."""

import itertools
import os
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

import lfm_jax
from lfm_jax.errors import DataError, UserError
from lfm_jax.inference.predict import predict_files
from lfm_jax.inference.scoring import PATIENCE


@pytest.fixture
def photos(noise, tmp_path):
    """A folder with two photographs (one in a subfolder), a broken file and an image that is too small."""
    folder = tmp_path / "my <photos>"
    (folder / "more").mkdir(parents=True)
    noise(64, 64, strength=20).save(folder / "a.png")
    noise(61, 64).save(folder / "more" / "b.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    noise(16, 16).save(folder / "small.png")
    return folder


def test_a_stream_gives_what_each_image_gives_alone_in_its_place(tiny_detector, photos, noise):
    image = noise(64, 80, strength=90)
    images = [
        photos / "a.png",
        image,
        str(photos / "broken.jpg"),
        np.asarray(image),
        photos / "small.png",
        photos / "more" / "b.png",
    ]
    answers = list(tiny_detector.batches(iter(images), batch_size=2))
    assert [type(answer) for answer in answers] == [lfm_jax.Failure if i in (2, 4) else lfm_jax.Prediction for i in range(6)]
    for answer, image in zip(answers, images, strict=True):
        if isinstance(answer, lfm_jax.Prediction):
            alone = tiny_detector(image)
            assert answer.logit == pytest.approx(alone.logit, rel=1e-5)
            assert asdict(answer) | {"logit": 0, "score": 0} == asdict(alone) | {"logit": 0, "score": 0}
    assert answers[1].logit == pytest.approx(answers[3].logit, rel=1e-6)
    assert "too small" in answers[4].error


def test_an_endless_stream_is_read_no_further_than_needed_and_an_image_of_a_rare_size_is_not_waited_for_long(given_logits):
    taken = []

    def camera():
        for frame in itertools.count():
            taken.append(frame)
            yield np.full((32, 64 if frame == 3 else 32, 3), 100 + frame % 100, np.uint8)

    answers = list(itertools.islice(given_logits.batches(camera(), batch_size=4, threads=2), 100))
    assert [answer.logit for answer in answers] == [frame % 100 for frame in range(100)]
    assert (1, 32, 64) in given_logits.seen
    assert len(taken) <= 100 + (PATIENCE + 8) * 4


def test_anything_but_a_set_of_images_is_refused_at_once(tiny_detector, photos):
    with pytest.raises(UserError, match="predict_folder"):
        tiny_detector.batches(str(photos))
    with pytest.raises(UserError, match="crop_224"):
        tiny_detector.batches([], protocol="crop_224")
    with pytest.raises(ValueError, match="uint8"):
        list(tiny_detector.batches([np.zeros((64, 64, 3), np.float32)]))


def test_a_folder_is_scored_as_the_command_scores_it(tiny_detector, photos):
    table = tiny_detector.predict_folder(photos, protocol="crop48")
    assert table + table.errors == sorted(
        predict_files(tiny_detector, [str(photos)], protocol="crop48"), key=lambda record: "error" in record
    )
    assert [record["path"] for record in table] == [str(photos / "a.png"), str(photos / "more" / "b.png")]
    assert [os.path.basename(record["path"]) for record in table.errors] == ["broken.jpg", "small.png"]  # noqa: PTH119
    with pytest.raises(DataError, match="no folder at"):
        tiny_detector.predict_folder(photos / "a.png")


def test_pandas_takes_a_folders_scores_unchanged(tiny_detector, photos):
    table = tiny_detector.predict_folder(photos)
    frame = pd.DataFrame(table)
    assert list(frame.columns) == list(table[0])
    assert frame.label.tolist() == ["real", "fake"]
    assert frame.score.dtype == np.float64
    assert frame.logit.tolist() == [record["logit"] for record in table]


def test_a_notebook_shows_rows_failures_and_the_caveat(tiny_detector, photos):
    table = tiny_detector.predict_folder(photos)
    page, text = table._repr_html_(), repr(table)
    for answer in (page, text):
        assert "4 images: 1 trace found, 1 no trace found at threshold 0.5 under crop256, 2 could not be scored" in answer
        assert os.path.join("more", "b.png") in answer  # noqa: PTH118
    assert "my &lt;photos&gt;" in page and "my <photos>" not in page
    assert "small.png: 16 x 16 px is too small" in page
    assert "never a proof" in page


def test_a_file_name_that_is_not_utf8_can_be_shown(tiny_detector, noise, tmp_path):
    try:
        noise(64, 64).save(tmp_path / os.fsdecode(b"caf\xe9.png"), format="PNG")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert "caf" in tiny_detector.predict_folder(tmp_path)._repr_html_().encode().decode()


@pytest.mark.parametrize(("strength", "words"), [(255, "is above the threshold"), (20, "is not above the threshold")])
def test_a_prediction_says_which_side_of_the_threshold_it_is_on(tiny_detector, noise, strength, words):
    prediction = tiny_detector(noise(64, 64, strength=strength))
    page = prediction._repr_html_()
    assert words in page and f"score {prediction.score:.3f}" in page and "never a proof" in page
