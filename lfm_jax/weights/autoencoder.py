"""The weights of TAEF2 from its two published files, as a function that passes an image through it."""

import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lfm_jax.data.prepare.align import Autoencode
from lfm_jax.errors import WeightsError
from lfm_jax.models.autoencoder import LATENTS, STRIDE, Decoder, Encoder, from_state_dict
from lfm_jax.runtime.paths import expanded
from lfm_jax.weights.files import read_safetensors, read_torch

PADDED_TO = 64  # px; images are padded to multiples of this, so that few programs are compiled


def load_autoencoder(encoder: str | os.PathLike[str], decoder: str | os.PathLike[str]) -> Autoencode:
    """Reads the .pth or .safetensors of both halves.

    Raises:
      WeightsError: a file cannot be read, or does not hold the tensors of that half.
    """
    encode = _read(encoder, Encoder(), jnp.zeros((1, STRIDE, STRIDE, 3)))
    decode = _read(decoder, Decoder(), jnp.zeros((1, 1, 1, LATENTS)))

    @jax.jit
    def through(image: jax.Array, noise: jax.Array, key: jax.Array) -> jax.Array:
        latents = encode(image)
        return decode(latents + noise * latents.std() * jax.random.normal(key, latents.shape))

    def autoencode(image: np.ndarray, noise: float, seed: int) -> np.ndarray:
        height, width = image.shape[:2]
        below, right = -height % PADDED_TO, -width % PADDED_TO
        padded = np.pad(image, ((0, below), (0, right), (0, 0)), "symmetric")
        key = jax.random.key(seed, impl="threefry2x32")
        return np.asarray(through(padded[None], jnp.float32(noise), key)[0, :height, :width])

    return autoencode


def _read(path: str | os.PathLike[str], half: Encoder | Decoder, sample: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """One half of the autoencoder, which takes arrays like `sample`, with the weights of a file."""
    file = expanded(path)
    state, _ = (read_safetensors if file.suffix == ".safetensors" else read_torch)(file)
    variables = {"params": from_state_dict(state)}
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, jax.eval_shape(half.init, jax.random.key(0), sample)):
        raise WeightsError(f"{file} does not hold the {type(half).__name__.lower()} of TAEF2")
    return lambda inputs: jnp.asarray(half.apply(variables, inputs))
