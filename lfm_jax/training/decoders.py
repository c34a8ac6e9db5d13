"""Fitting a decoder of another kind to the pictures of TAEF2's, from the same latents: for a bank of aligned fakes.

It begins with TAEF2's weights, also where sides are doubled, as near as its layers can come to them. The loss is the mean
absolute difference of the pictures and of their differences between neighbouring pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lfm_jax.data.images import ImageError
from lfm_jax.data.prepare.align import MOST_NOISE
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.errors import DataError
from lfm_jax.models.autoencoder import LATENTS, Decoder, Encoder, started_from_taef2
from lfm_jax.runtime.rng import Stream, host_rng

CROP = 64  # px
BATCH = 2  # crops of a step
RATE = 2e-4  # of Adam, falling to nothing along half a cosine
WARM_UP = 5  # steps
SLOPES = 1.0  # weight of the differences between neighbouring pixels
CHECKED_ON = 8  # crops of photographs that are not fitted on
HELD_BACK = 10  # every so many-th photograph is held back for them
STEPS_BETWEEN_CHECKS = 25
TRIES = 50  # at a photograph that can be read and is large enough


@dataclass(frozen=True)
class Fit:
    """How near a decoder came after `step` steps: PSNR in dB, of crops that it was not fitted on."""

    step: int
    to_taef2: float
    to_photograph: float
    taef2_to_photograph: float


@dataclass(frozen=True)
class Taef2:
    """The parameters of both halves."""

    encoder: Mapping[str, Any]
    decoder: Mapping[str, Any]


def fit_decoder(
    decoder: Decoder, taef2: Taef2, source: FileSource, *, steps: int, seed: int, tell: Callable[[Fit], None]
) -> dict[str, Any]:
    """Fits `decoder` on the photographs of `source`, and returns its parameters.

    Args:
      decoder: its kind.
      taef2: the network whose pictures it is to give.
      source: labelled images; those that are not real are passed over.
      steps: how many, of BATCH crops each.
      seed: of the new layers, the crops and the noise on the latents.
      tell: called with what was reached, every STEPS_BETWEEN_CHECKS steps and at the end.

    Raises:
      DataError: there are too few photographs that can be read and are large enough.
    """
    photographs = [index for index, example in enumerate(source.examples) if example.label == 0]
    held_back = photographs[::HELD_BACK]
    fitted_on = [index for index in photographs if index not in set(held_back)] or photographs
    key = jax.random.key(seed, impl="threefry2x32")
    fresh = jax.jit(decoder.init)(key, jnp.zeros((1, 1, 1, LATENTS)))["params"]
    params = started_from_taef2(fresh, taef2.decoder, decoder.upsampling)
    rate = optax.warmup_cosine_decay_schedule(0, RATE, min(WARM_UP, steps - 1), steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    @jax.jit
    def update(params: Any, state: Any, crops: jax.Array, noise: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        latents, wanted = _wanted(taef2, crops, noise, key)

        def error(params: Any) -> jax.Array:
            return loss(jnp.asarray(decoder.apply({"params": params}, latents, clipped=False)), wanted)

        gradient = jax.grad(error)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    check = _checker(decoder, taef2, _crops(source, held_back, CHECKED_ON, host_rng(seed, Stream.FIT_DECODER, 0)))
    state = optimizer.init(params)
    tell(check(params, 0))
    for step in range(1, steps + 1):
        rng = host_rng(seed, Stream.FIT_DECODER, step)
        noise = MOST_NOISE * np.maximum(2 * rng.random((BATCH, 1, 1, 1)) - 1, 0)
        crops = _crops(source, fitted_on, BATCH, rng)
        params, state = update(params, state, crops, jnp.float32(noise), jax.random.fold_in(key, step))
        if step % STEPS_BETWEEN_CHECKS == 0 or step == steps:
            tell(check(params, step))
    return dict(params)


def loss(made: jax.Array, wanted: jax.Array) -> jax.Array:
    """Mean absolute difference of two batches of images, of their values and of their slopes."""
    error = made - wanted
    slopes = jnp.abs(jnp.diff(error, axis=1)).mean() + jnp.abs(jnp.diff(error, axis=2)).mean()
    return jnp.abs(error).mean() + SLOPES * slopes


def _wanted(taef2: Taef2, crops: jax.Array, noise: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Latents with noise as shares of their deviation, and what TAEF2 makes of them."""
    latents = Encoder().apply({"params": taef2.encoder}, crops)
    assert isinstance(latents, jax.Array)
    deviation = latents.std((1, 2, 3), keepdims=True)
    latents = latents + noise * deviation * jax.random.normal(key, latents.shape)
    return latents, jnp.asarray(Decoder().apply({"params": taef2.decoder}, latents))


def _checker(decoder: Decoder, taef2: Taef2, crops: np.ndarray) -> Callable[[Any, int], Fit]:
    @jax.jit
    def through(crops: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _wanted(taef2, crops, jnp.float32(0), jax.random.key(0))

    latents, wanted = through(crops)
    made = jax.jit(lambda params: decoder.apply({"params": params}, latents))

    def check(params: Any, step: int) -> Fit:
        image = made(params)
        return Fit(step, psnr(image, wanted), psnr(image, crops), psnr(wanted, crops))

    return check


def psnr(image: jax.typing.ArrayLike, other: jax.typing.ArrayLike) -> float:
    """The median over the images of a batch, in dB."""
    errors = np.square(np.asarray(image) - np.asarray(other)).mean((1, 2, 3))
    return float(np.median(-10 * np.log10(np.maximum(errors, 1e-10))))


def _crops(source: FileSource, indices: list[int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Float32 [count, CROP, CROP, 3] in 0..1, each of a photograph that is drawn from `indices`."""
    crops: list[np.ndarray] = []
    for _ in range(TRIES * count):
        try:
            photograph = source.image(int(rng.choice(indices)))
        except ImageError:
            continue
        if min(photograph.size) < CROP:
            continue
        left, top = (int(rng.integers(side - CROP + 1)) for side in photograph.size)
        crops.append(np.asarray(photograph.crop((left, top, left + CROP, top + CROP)), np.float32) / 255)
        if len(crops) == count:
            return np.stack(crops)
    raise DataError(f"{source.root}: too few of its photographs can be read and have sides of {CROP} px or more")
