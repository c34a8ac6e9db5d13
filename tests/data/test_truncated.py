"""Images whose pixels are cut: refused, or with --truncated=score decoded as the released code does, and said."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageFile

from lfm_jax.data import images
from lfm_jax.data.images import ImageError, decode_bytes


@pytest.fixture(autouse=True)
def switched_off_again(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    yield
    images.take_truncated(False)


def encoded(noise, **options):
    file = io.BytesIO()
    noise(64, 64, seed=3).save(file, **options)
    return file.getvalue()


SAVED = {
    "jpeg": {"format": "JPEG", "quality": 90},
    "progressive": {"format": "JPEG", "quality": 90, "progressive": True},
    "png": {"format": "PNG"},
    "bmp": {"format": "BMP"},
}


@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize("kind", SAVED)
def test_a_cut_image_is_decoded_as_pil_does_with_its_switch(kind, share, noise, monkeypatch):
    whole = encoded(noise, **SAVED[kind])
    data = whole[: int(len(whole) * share)]
    with pytest.raises(ImageError, match="truncated") as refused:
        decode_bytes(data)
    images.take_truncated(True)
    ours = decode_bytes(data)
    assert ours.info[images.TRUNCATED] == str(refused.value)
    assert images.TRUNCATED not in decode_bytes(whole).info
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_what_is_no_image_stays_refused_with_the_same_words():
    images.take_truncated(True)
    with pytest.raises(ImageError, match="not an image file"):
        decode_bytes(b"nothing of the kind")


@pytest.fixture
def folder(noise, tmp_path):
    for label in ("0_real", "1_fake"):
        for index in range(2):
            path = tmp_path / "data" / "gan" / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise(64, 64, seed=index).save(path)
    cut = tmp_path / "data" / "gan" / "1_fake" / "0.png"
    cut.write_bytes(cut.read_bytes()[:6000])
    return tmp_path / "data"


def test_predict_scores_and_says_so(lfm, weights_file, folder):
    command = ["predict", folder, f"--weights={weights_file}", "--protocol=native"]
    refused = lfm(*command, "--format=jsonl")
    assert refused.status == 3
    ran = lfm(*command, "--format=jsonl", "--truncated=score")
    assert ran.status == 0
    said = {record["path"][-12:]: record.get("truncated") for record in map(json.loads, ran.out.splitlines())}
    assert "truncated" in said.pop("1_fake/0.png")
    assert set(said.values()) == {None}
    assert lfm(*command, "--format=csv", "--truncated=score").out.splitlines()[0].endswith(",provenance,truncated")


def test_evaluate_counts_them_and_keeps_its_cells_apart(lfm, weights_file, folder, tmp_path):
    out = tmp_path / "out"
    command = ["evaluate", f"--data={folder}", f"--weights={weights_file}", "--protocol=native", f"--out={out}"]
    assert lfm(*command).status == 3
    for _ in range(2):  # scored, then read from its cell
        ran = lfm(*command, "--truncated=score")
        assert ran.status == 0
        assert "1 of the images are cut" in ran.err
        results = json.loads((out / "results.json").read_text())
        assert [record["path"] for record in results["truncated"]] == ["gan/1_fake/0.png"]
        assert results["errors"] == []
    assert lfm(*command).status == 3
