"""The module beside an exported .pth, without this package and jax: it cuts images into the same pieces, with the same logits."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.export import weight_files
from lfm_jax.inference.detector import Detector
from tests.helpers.without import run_without

torch = pytest.importorskip("torch", reason="runs the export in PyTorch")

ALONE = """
import lfm_torch

detector = lfm_torch.load("tiny.pth")
print(json.dumps([detector(path) for path in sys.argv[1:]]))
"""
PROTOCOLS = ["native", "resize64", "crop48", "crop96_pad", "resize80_crop64", "tiles48", "tiles48_stride24_top25"]


@pytest.fixture(scope="module")
def with_own_card(tiny_detector):
    """The tiny detector with an unusual mean, std, threshold and temperature."""
    model = dataclasses.replace(tiny_detector.model, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.25))
    config = tiny_detector.card.model_config()
    config.mean, config.std = model.mean, model.std
    card = dataclasses.replace(tiny_detector.card, model=config.to_dict(), threshold=0.7, temperature=2.5, protocol="crop48")
    return Detector(model, tiny_detector.variables, card)


def test_it_runs_without_this_package(with_own_card, noise, tmp_path):
    weight_files.write_torch(tmp_path / "tiny.pth", with_own_card)
    paths = []
    for seed, (height, width) in enumerate([(64, 64), (50, 83)]):
        paths.append(tmp_path / f"{seed}.png")
        noise(height, width, seed=seed, strength=(20, 255)[seed]).save(paths[-1])
    predictions = json.loads(run_without(("lfm_jax", "jax", "flax"), ALONE, *paths, folder=tmp_path))
    for path, prediction in zip(paths, predictions, strict=True):
        expected = with_own_card(path)
        assert prediction["logit"] == pytest.approx(expected.logit, abs=1e-4)
        assert prediction["score"] == pytest.approx(expected.score, abs=1e-4)
        assert prediction["label"] == expected.label


@pytest.fixture(scope="module")
def lfm_torch():
    from lfm_jax.export import lfm_torch

    return lfm_torch


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("height", "width"), [(96, 70), (47, 131)])
def test_pieces_of_an_image_are_those_of_the_protocol(lfm_torch, noise, protocol, height, width):
    parsed, image = protocols.parse(protocol), noise(height, width)
    np.testing.assert_array_equal(lfm_torch.preprocess(image, dataclasses.asdict(parsed)), parsed(image))


@pytest.mark.parametrize("protocol", ["native", "tiles48_stride24_top25"])
def test_an_image_gets_the_detectors_logit_whole_or_in_tiles(lfm_torch, tiny_detector, noise, protocol, tmp_path):
    card = dataclasses.replace(tiny_detector.card, protocol=protocol)
    weight_files.write_torch(tmp_path / "tiny.pth", Detector(tiny_detector.model, tiny_detector.variables, card))
    image = Image.fromarray(np.asarray(noise(100, 131)))
    prediction = lfm_torch.load(tmp_path / "tiny.pth")(image)
    assert prediction["logit"] == pytest.approx(tiny_detector(image, protocol=protocol).logit, abs=1e-4)


def test_an_extra_key_is_refused(lfm_torch, tiny_detector, tmp_path):
    weight_files.write_torch(tmp_path / "tiny.pth", tiny_detector)
    state = torch.load(tmp_path / "tiny.pth", weights_only=True)
    with pytest.raises(RuntimeError, match="stray"):
        lfm_torch.from_state_dict({**state, "stray": torch.zeros(1)})
