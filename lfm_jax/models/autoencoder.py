"""TAEF2, a small image autoencoder whose decoder leaves the traces of a real generator: for aligned fakes.

It is a distilled copy of the autoencoder of FLUX.2 (madebyollin/taesd, MIT licence): three halvings to 32 latent channels,
and back by nearest up-sampling and 3 x 3 convolutions. A photograph passed through it looks the same and carries the
decoder's traces. Its published files hold the layers of both halves by their place in a sequence, which are the names here.

A decoder of another kind has the same layers, but doubles the sides in another way, is narrower, or has another
non-linearity. Fitted to TAEF2's pictures (`training.decoders`), it leaves other traces.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

STRIDE = 8  # px of the image per position of the latents
CHANNELS = 64
LATENTS = 32
GROUPS = 4  # of the normalisation in a middle block
POOLED = 256  # channels that a middle block looks at
UPSAMPLINGS = ("nearest", "bilinear", "transposed3", "transposed4", "pixel_shuffle")
RANDOM_SHARE = 0.1  # of the kernels of the layers that double the sides, before a decoder is fitted
DOUBLED_BY = ("7", "12", "17")  # the layers of a decoder that double the sides
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"relu": nn.relu, "silu": nn.silu, "leaky": nn.leaky_relu}


class Block(nn.Module):
    """Three 3 x 3 convolutions around a skip connection; a middle block first adds a normalised 1 x 1 mixture of its input."""

    middle: bool = False
    width: int = CHANNELS
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        activate = ACTIVATIONS[self.activation]
        if self.middle:
            mixed = nn.Conv(POOLED, (1, 1), use_bias=False, name="pool.0")(x)
            mixed = activate(nn.GroupNorm(num_groups=GROUPS, epsilon=1e-5, name="pool.1")(mixed))
            x = x + nn.Conv(self.width, (1, 1), use_bias=False, name="pool.3")(mixed)
        y = x
        for place in (0, 2, 4):
            y = nn.Conv(self.width, (3, 3), padding=1, name=f"conv.{place}")(y)
            y = activate(y) if place < 4 else y
        return activate(y + x)


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
    """Latents [B, h, w, 32] to images [B, 8 h, 8 w, 3] in 0..1. Without arguments it is TAEF2's own.

    Attributes:
      upsampling: one of UPSAMPLINGS; how the sides are doubled, three times.
      width: channels of every layer between the latents and the image.
      activation: one of ACTIVATIONS.
    """

    upsampling: str = "nearest"
    width: int = CHANNELS
    activation: str = "relu"

    @nn.compact
    def __call__(self, latents: jax.Array, *, clipped: bool = True) -> jax.Array:
        x = nn.Conv(self.width, (3, 3), padding=1, name="1")(3 * jnp.tanh(latents / 3))
        x = ACTIVATIONS[self.activation](x)
        for blocks, doubling in zip(((3, 4, 5), (8, 9, 10), (13, 14, 15)), DOUBLED_BY, strict=True):
            for block in blocks:
                x = Block(middle=block < 6, width=self.width, activation=self.activation, name=f"{block}")(x)
            x = self._doubled(x, doubling)
        x = Block(width=self.width, activation=self.activation, name="18")(x)
        image = nn.Conv(3, (3, 3), padding=1, name="19")(x)
        return jnp.clip(image, 0, 1) if clipped else image

    def checked(self) -> "Decoder":
        """Itself. Raises ValueError where there is no such kind."""
        known = self.upsampling in UPSAMPLINGS and self.activation in ACTIVATIONS
        if not known or not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"upsampling {self.upsampling!r}, width {self.width!r}, activation {self.activation!r}")
        return self

    def _doubled(self, x: jax.Array, name: str) -> jax.Array:
        """x [B, h, w, C] with twice the sides, by a layer of this name. Called within __call__."""
        batch, height, width, channels = x.shape
        if self.upsampling.startswith("transposed"):
            side = int(self.upsampling[-1])
            return nn.ConvTranspose(self.width, (side, side), strides=(2, 2), use_bias=False, name=name)(x)
        if self.upsampling == "pixel_shuffle":
            x = nn.Conv(4 * self.width, (3, 3), padding=1, use_bias=False, name=name)(x)
            x = x.reshape(batch, height, width, 2, 2, self.width).transpose(0, 1, 3, 2, 4, 5)
            return x.reshape(batch, 2 * height, 2 * width, self.width)
        if self.upsampling == "bilinear":
            x = jax.image.resize(x, (batch, 2 * height, 2 * width, channels), "bilinear")
        else:
            x = x.repeat(2, axis=1).repeat(2, axis=2)
        return nn.Conv(self.width, (3, 3), padding=1, use_bias=False, name=name)(x)


def started_from_taef2(fresh: Mapping[str, Any], taef2: Mapping[str, Any], upsampling: str, above: str = "") -> dict[str, Any]:
    """The parameters of TAEF2's decoder in the shapes of the parameters `fresh` of a decoder of another kind.

    A narrower decoder takes the first of TAEF2's channels. The layers that double the sides get kernels that do what nearest
    up-sampling and TAEF2's kernel do, or come near it, and a little of their random kernel.
    """
    started: dict[str, Any] = {}
    for name, value in fresh.items():
        if isinstance(value, Mapping):
            started[name] = started_from_taef2(value, taef2[name], upsampling, name)
        elif above in DOUBLED_BY:
            outputs = value.shape[-1] // (4 if upsampling == "pixel_shuffle" else 1)
            kernel = _as_upsampling(taef2[name][:, :, : value.shape[2], :outputs], upsampling)
            started[name] = kernel + RANDOM_SHARE * kernel.std() / value.std() * value
        else:
            started[name] = taef2[name][tuple(map(slice, value.shape))]
    return started


# What a kernel (k0, k1, k2) behind nearest up-sampling does, as the kernel of another layer, along one side. A transposed
# convolution of 3 px cannot do it: its middle value takes the place of two.
AS_TRANSPOSED = {
    "transposed4": np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], np.float32),
    "transposed3": np.array([[1, 0, 0], [1, 1, 1], [0, 1, 1]], np.float32),
}
AS_SHUFFLED = np.array([[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]], np.float32)  # even, odd pixels


def _as_upsampling(kernel: jax.Array, upsampling: str) -> jax.Array:
    """A 3 x 3 kernel [3, 3, I, O] behind nearest up-sampling as the kernel of a layer that doubles the sides."""
    if upsampling in AS_TRANSPOSED:
        rows = AS_TRANSPOSED[upsampling]
        return jnp.einsum("ya,xb,abio->yxio", rows, rows, kernel)
    if upsampling == "pixel_shuffle":
        split = jnp.einsum("pya,qxb,abio->yxipqo", AS_SHUFFLED, AS_SHUFFLED, kernel)
        return split.reshape(*kernel.shape[:3], -1)
    return kernel


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


def to_state_dict(params: Mapping[str, Any], above: str = "") -> dict[str, np.ndarray]:
    """The opposite of `from_state_dict`; float16, as the published files are."""
    state: dict[str, np.ndarray] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            state |= to_state_dict(value, f"{above}{name}.")
            continue
        array = np.asarray(value, np.float16)
        tensor = np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array
        state[f"{above}{'bias' if name == 'bias' else 'weight'}"] = tensor
    return state
