"""TAEF2, a small image autoencoder whose decoder leaves the traces of a real generator: for aligned fakes.

It is a distilled copy of the autoencoder of FLUX.2 (madebyollin/taesd, MIT licence): three halvings to 32 latent channels,
and back by nearest up-sampling and 3 x 3 convolutions. A photograph passed through it looks the same and carries the
decoder's traces. Its published files hold the layers of both halves by their place in a sequence, which are the names here.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

STRIDE = 8  # px of the image per position of the latents
CHANNELS = 64
LATENTS = 32
GROUPS = 4  # of the normalisation in a middle block
POOLED = 256  # channels that a middle block looks at


class Block(nn.Module):
    """Three 3 x 3 convolutions around a skip connection; a middle block first adds a normalised 1 x 1 mixture of its input."""

    middle: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.middle:
            mixed = nn.Conv(POOLED, (1, 1), use_bias=False, name="pool.0")(x)
            mixed = nn.relu(nn.GroupNorm(num_groups=GROUPS, epsilon=1e-5, name="pool.1")(mixed))
            x = x + nn.Conv(CHANNELS, (1, 1), use_bias=False, name="pool.3")(mixed)
        y = x
        for place in (0, 2, 4):
            y = nn.Conv(CHANNELS, (3, 3), padding=1, name=f"conv.{place}")(y)
            y = nn.relu(y) if place < 4 else y
        return nn.relu(y + x)


class Encoder(nn.Module):
    """Images [B, H, W, 3] in 0..1, sides multiples of 8, to latents [B, H / 8, W / 8, 32]."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = nn.Conv(CHANNELS, (3, 3), padding=1, name="0")(images)
        x = Block(name="1")(x)
        for place in (2, 6, 10):
            x = nn.Conv(CHANNELS, (3, 3), strides=2, padding=1, use_bias=False, name=f"{place}")(x)
            for block in range(place + 1, place + 4):
                x = Block(middle=place == 10, name=f"{block}")(x)
        return nn.Conv(LATENTS, (3, 3), padding=1, name="14")(x)


class Decoder(nn.Module):
    """Latents [B, h, w, 32] to images [B, 8 h, 8 w, 3] in 0..1."""

    @nn.compact
    def __call__(self, latents: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(CHANNELS, (3, 3), padding=1, name="1")(3 * jnp.tanh(latents / 3)))
        for blocks, conv in (((3, 4, 5), 7), ((8, 9, 10), 12), ((13, 14, 15), 17)):
            for block in blocks:
                x = Block(middle=conv == 7, name=f"{block}")(x)
            x = x.repeat(2, axis=1).repeat(2, axis=2)
            x = nn.Conv(CHANNELS, (3, 3), padding=1, use_bias=False, name=f"{conv}")(x)
        x = Block(name="18")(x)
        return jnp.clip(nn.Conv(3, (3, 3), padding=1, name="19")(x), 0, 1)


def from_state_dict(state: Mapping[str, np.ndarray]) -> dict[str, dict[str, jax.Array]]:
    """The parameters of an encoder or decoder from its published tensors, such as "3.conv.0.weight" [out, in, 3, 3].

    Returns:
      Flax parameters, float32, by the names of the layers.
    """
    params: dict[str, dict[str, jax.Array]] = {}
    for name, array in state.items():
        *path, kind = name.split(".")
        value = jnp.asarray(array, jnp.float32)
        module = params
        for part in (path[0], ".".join(path[1:])):
            module = module.setdefault(part, {}) if part else module  # type: ignore[assignment]
        if value.ndim == 4:
            module["kernel"] = value.transpose(2, 3, 1, 0)  # type: ignore[assignment]
        else:
            module["bias" if kind == "bias" else "scale"] = value  # type: ignore[assignment]
    return params
