"""TAEF2 against the same network in PyTorch, and on a photograph."""

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lfm_jax.errors import WeightsError
from lfm_jax.weights.autoencoder import load_autoencoder

torch = pytest.importorskip("torch")
functional = torch.nn.functional


@pytest.fixture(scope="module")
def files(shared):
    return [shared / "taef2" / f"taef2_{half}.pth" for half in ("encoder", "decoder")]


@pytest.fixture(scope="module")
def autoencode(files):
    return load_autoencoder(*files)


@pytest.fixture(scope="module")
def photograph(shared):
    file = min((shared / "corpus/train/bsd68_photos/0_real").glob("*.png"), key=lambda path: path.name)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").crop((0, 0, 64, 64)), np.float32) / 255


class Reference:
    """The published layers one after another, by the places that the files give them."""

    def __init__(self, file: Path):
        self.tensors = {name: tensor.float() for name, tensor in torch.load(file, weights_only=True).items()}

    def conv(self, name, x, stride=1):
        kernel = self.tensors[f"{name}.weight"]
        return functional.conv2d(x, kernel, self.tensors.get(f"{name}.bias"), stride, kernel.shape[-1] // 2)

    def block(self, name, x):
        if f"{name}.pool.0.weight" in self.tensors:
            mixed = self.conv(f"{name}.pool.0", x)
            mixed = functional.group_norm(mixed, 4, self.tensors[f"{name}.pool.1.weight"], self.tensors[f"{name}.pool.1.bias"])
            x = x + self.conv(f"{name}.pool.3", functional.relu(mixed))
        y = functional.relu(self.conv(f"{name}.conv.0", x))
        y = functional.relu(self.conv(f"{name}.conv.2", y))
        return functional.relu(self.conv(f"{name}.conv.4", y) + x)

    def layers(self, x, places, *, strided=()):
        for place in places:
            is_block = f"{place}.conv.0.weight" in self.tensors
            x = self.block(place, x) if is_block else self.conv(place, x, 2 if place in strided else 1)
        return x


def reference(files, image):
    encoder, decoder = map(Reference, files)
    up = functools.partial(functional.interpolate, scale_factor=2)
    with torch.no_grad():
        x = torch.tensor(image.transpose(2, 0, 1)[None])
        latents = encoder.layers(x, range(15), strided=(2, 6, 10))
        x = functional.relu(decoder.conv(1, 3 * torch.tanh(latents / 3)))
        for blocks, conv in (((3, 4, 5), 7), ((8, 9, 10), 12), ((13, 14, 15), 17)):
            x = decoder.conv(conv, up(decoder.layers(x, blocks)))
        return decoder.layers(x, (18, 19)).clamp(0, 1)[0].numpy().transpose(1, 2, 0)


def test_the_picture_is_pytorchs(autoencode, files, photograph):
    np.testing.assert_allclose(autoencode(photograph, 0.0, 0), reference(files, photograph), atol=2e-5)


def test_the_picture_looks_like_the_photograph(autoencode, photograph):
    decoded = autoencode(photograph, 0.0, 0)
    assert 25 < -10 * np.log10(np.square(decoded - photograph).mean()) < 45  # PSNR in dB


def test_noise_on_the_latents_changes_the_picture_by_its_seed(autoencode, photograph):
    plain, noisy, again, other = (autoencode(photograph, *draw) for draw in ((0.0, 1), (0.1, 1), (0.1, 1), (0.1, 2)))
    np.testing.assert_array_equal(noisy, again)
    assert 1e-4 < np.abs(noisy - plain).mean() < 0.05
    assert np.abs(noisy - other).mean() > 1e-4


def test_sides_need_not_be_multiples_of_anything(autoencode, photograph):
    part = photograph[:45, :37]
    decoded = autoencode(part, 0.0, 0)
    assert decoded.shape == part.shape
    assert -10 * np.log10(np.square(decoded - part).mean()) > 20


def test_the_halves_cannot_be_exchanged(files):
    with pytest.raises(WeightsError, match=r"taef2_decoder\.pth does not hold the encoder of TAEF2"):
        load_autoencoder(*reversed(files))
