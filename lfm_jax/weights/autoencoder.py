"""TAEF2 from its two published files, decoders fitted to it from files of our own, and functions that pass an image through."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from lfm_jax.data.prepare.align import Autoencode
from lfm_jax.errors import WeightsError
from lfm_jax.models.autoencoder import LATENTS, STRIDE, Decoder, Encoder, from_state_dict, to_state_dict
from lfm_jax.runtime.paths import expanded, write_whole
from lfm_jax.weights.files import read_safetensors, read_torch

PADDED_TO = 64  # px; images are padded to multiples of this, so that few programs are compiled
KIND = "decoder"  # in the metadata of a .safetensors: JSON, the fields of a Decoder and how it was fitted
FIELDS = ("upsampling", "width", "activation")  # of a Decoder
SAMPLES = {Encoder: jnp.zeros((1, STRIDE, STRIDE, 3)), Decoder: jnp.zeros((1, 1, 1, LATENTS))}

File = str | os.PathLike[str]


def load_autoencoder(encoder: File, decoder: File) -> Autoencode:
    """An encoder and a decoder from their .pth or .safetensors.

    Raises:
      WeightsError: a file cannot be read, or does not hold the tensors of that half.
    """
    return next(iter(load_bank(encoder, [decoder]).values()))


def load_bank(encoder: File, decoders: Sequence[File]) -> dict[str, Autoencode]:
    """An encoder with each of several decoders, by the names of the decoders' files without their endings.

    Raises:
      WeightsError: as `load_autoencoder`, or two decoders have one name.
    """
    encode = jax.jit(_function(*read_half(encoder, Encoder())))
    bank: dict[str, Autoencode] = {}
    for decoder in map(expanded, decoders):
        if decoder.stem in bank:
            raise WeightsError(f"{decoder}: another decoder is called {decoder.stem} too; rename one of the files")
        bank[decoder.stem] = _autoencode(encode, _function(*read_half(decoder, Decoder())))
    return bank


def read_half(path: File, half: Encoder | Decoder) -> tuple[Encoder | Decoder, dict[str, Any]]:
    """The weights of one half of the autoencoder, and the network that they belong to: `half`, or a decoder of the file's kind.

    Raises:
      WeightsError: the file cannot be read, or holds other tensors.
    """
    file = expanded(path)
    state, _ = (read_safetensors if file.suffix == ".safetensors" else read_torch)(file)
    params, what = from_state_dict(state), f"the {type(half).__name__.lower()} of TAEF2"
    if file.suffix == ".safetensors" and isinstance(half, Decoder) and (card := decoder_card(file)):
        half, what = _decoder_of(file, card), "the decoder that its card describes"
    shapes = jax.eval_shape(half.init, jax.random.key(0), SAMPLES[type(half)])["params"]
    if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, shapes):
        raise WeightsError(f"{file} does not hold {what}")
    return half, params


def write_decoder(path: Path, decoder: Decoder, params: Mapping[str, Any], fitted: Mapping[str, Any]) -> None:
    """Writes a .safetensors whose card says of what kind the decoder is, and how it was `fitted`."""
    card = {field: getattr(decoder, field) for field in FIELDS} | dict(fitted)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(to_state_dict(params), metadata={KIND: json.dumps(card)}))


def decoder_card(path: Path) -> dict[str, Any]:
    """The card that `write_decoder` put into a file, {} where it has none."""
    with safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(KIND, "{}")
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        raise WeightsError(f"{path}: its card is damaged: {text[:80]}") from None


def _decoder_of(file: Path, card: Mapping[str, Any]) -> Decoder:
    try:
        return Decoder(**{field: card[field] for field in FIELDS}).checked()
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{file}: its card does not describe a decoder: {error}") from None


def _function(half: Encoder | Decoder, params: Mapping[str, Any]) -> Callable[[jax.Array], jax.Array]:
    return lambda inputs: jnp.asarray(half.apply({"params": params}, inputs))


def _autoencode(encode: Callable[[jax.Array], jax.Array], decode: Callable[[jax.Array], jax.Array]) -> Autoencode:
    @jax.jit
    def decoded(latents: jax.Array, noise: jax.Array, key: jax.Array) -> jax.Array:
        return decode(latents + noise * latents.std() * jax.random.normal(key, latents.shape))

    def autoencode(image: np.ndarray, noise: float, seed: int) -> np.ndarray:
        height, width = image.shape[:2]
        below, right = -height % PADDED_TO, -width % PADDED_TO
        padded = np.pad(image, ((0, below), (0, right), (0, 0)), "symmetric")
        key = jax.random.key(seed, impl="threefry2x32")
        return np.asarray(decoded(encode(jnp.asarray(padded[None])), jnp.float32(noise), key)[0, :height, :width])

    return autoencode
