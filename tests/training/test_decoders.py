"""Decoders of other kinds that are fitted to TAEF2's pictures, on tiny networks of random weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lfm_jax.data.sources.folder import open_folder
from lfm_jax.errors import DataError, WeightsError
from lfm_jax.models import autoencoder
from lfm_jax.models.autoencoder import LATENTS, Decoder, Encoder, started_from_taef2
from lfm_jax.training import decoders
from lfm_jax.training.decoders import Taef2, fit_decoder
from lfm_jax.weights.autoencoder import decoder_card, load_bank, read_half, write_decoder

WIDTH = 8


@pytest.fixture(scope="module")
def taef2():
    """A decoder of TAEF2's kind, but narrow, and its encoder."""
    return Taef2(drawn(Encoder(), (8, 8, 3), seed=0), drawn(Decoder(width=WIDTH), seed=0))


@pytest.fixture(scope="module")
def latents():
    return jax.random.normal(jax.random.key(1), (1, 4, 5, LATENTS))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    folder = root / "camera" / "0_real"
    folder.mkdir(parents=True)
    for number in range(3):
        smooth = np.kron(np.random.default_rng(number).integers(0, 255, (9, 9, 3)), np.ones((8, 8, 1)))
        Image.fromarray(smooth.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def drawn(network, shape=(1, 1, LATENTS), *, seed):
    """Random parameters as a network is initialised with, without the seconds in which the initialiser compiles."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else np.zeros(leaf.shape)
        return jnp.asarray(values + (path[-1].key == "scale"), leaf.dtype)

    abstract = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))["params"]
    return jax.tree_util.tree_map_with_path(draw, abstract)


def fresh(decoder):
    return drawn(decoder, seed=2)


@functools.cache
def program(decoder):
    return jax.jit(lambda params, latents: decoder.apply({"params": params}, latents, clipped=False))


def picture(decoder, params, latents):
    return np.asarray(program(decoder)(params, latents))


@pytest.mark.parametrize("upsampling", ["transposed4", "pixel_shuffle", "transposed3", "bilinear"])
def test_a_decoder_begins_with_what_taef2_does(upsampling, taef2, latents, monkeypatch):
    monkeypatch.setattr(autoencoder, "RANDOM_SHARE", 0)
    decoder = Decoder(upsampling, WIDTH)
    started = picture(decoder, started_from_taef2(fresh(decoder), taef2.decoder, upsampling), latents)
    wanted = picture(Decoder(width=WIDTH), taef2.decoder, latents)
    assert started.shape == wanted.shape == (1, 32, 40, 3)
    error, untrained = (np.abs(made - wanted).mean() for made in (started, picture(decoder, fresh(decoder), latents)))
    if upsampling in ("transposed4", "pixel_shuffle"):  # can do the same
        np.testing.assert_allclose(started, wanted, atol=1e-4)
    else:
        assert 1e-3 < error < untrained


def test_a_narrower_decoder_begins_with_the_first_channels(taef2):
    started = started_from_taef2(fresh(Decoder("bilinear", 4)), taef2.decoder, "bilinear")
    np.testing.assert_array_equal(started["8"]["conv.0"]["kernel"], taef2.decoder["8"]["conv.0"]["kernel"][:, :, :4, :4])


def test_fitting_brings_it_nearer_to_taef2(taef2, photographs, monkeypatch):
    monkeypatch.setattr(decoders, "CROP", 16)
    monkeypatch.setattr(decoders, "RATE", 2e-3)
    monkeypatch.setattr(autoencoder, "RANDOM_SHARE", 2.0)  # far from it at first
    monkeypatch.setattr(decoders, "Decoder", lambda: Decoder(width=WIDTH))  # TAEF2's, in this test
    told = []
    fit_decoder(Decoder("bilinear", WIDTH), taef2, open_folder(photographs), steps=50, seed=0, tell=told.append)
    assert [fit.step for fit in told] == [0, 25, 50]
    assert told[-1].to_taef2 > told[0].to_taef2 + 1


def test_photographs_that_are_all_too_small_are_an_error(taef2, photographs, monkeypatch):
    monkeypatch.setattr(decoders, "CROP", 100)
    with pytest.raises(DataError, match=r"sides of 100 px"):
        fit_decoder(Decoder("bilinear", WIDTH), taef2, open_folder(photographs), steps=1, seed=0, tell=print)


def test_a_file_says_of_what_kind_its_decoder_is(taef2, tmp_path, latents):
    decoder, file, encoder = Decoder("pixel_shuffle", WIDTH, "silu"), tmp_path / "shuffle.safetensors", tmp_path / "e.safetensors"
    params = fresh(decoder)
    write_decoder(file, decoder, params, {"steps": 5})
    assert decoder_card(file) == {"upsampling": "pixel_shuffle", "width": WIDTH, "activation": "silu", "steps": 5}
    read, weights = read_half(file, Decoder())
    assert read == decoder
    np.testing.assert_allclose(picture(read, weights, latents), picture(decoder, params, latents), atol=5e-3)
    write_decoder(encoder, decoder, taef2.encoder, {})  # its tensors; the card is for decoders alone
    image = np.full((20, 24, 3), 0.5, np.float32)
    bank = load_bank(encoder, [file])
    assert bank["shuffle"](image, 0.0, 0).shape == image.shape
    with pytest.raises(WeightsError, match="another decoder is called shuffle too"):
        load_bank(encoder, [file, file])


def test_a_card_of_no_known_kind_is_named(taef2, tmp_path):
    file = tmp_path / "odd.safetensors"
    write_decoder(file, Decoder("spline"), taef2.decoder, {})
    with pytest.raises(WeightsError, match=r"odd\.safetensors: its card does not describe a decoder: upsampling 'spline'"):
        read_half(file, Decoder())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["val", "o.safetensors"], "must not be fitted on the val split"),
        (["train", "o.pth"], "ends in .safetensors"),
        (["train", "o.safetensors", "--width=65"], "at most 64"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(lfm, arguments, message):
    ran = lfm("data", "decoder", *arguments, "--encoder=E", "--decoder=D")
    assert ran.status == 2
    assert message in ran.err
