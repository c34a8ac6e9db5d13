"""Procedural photographs: scenes of textured leaves seen through a camera, with detail and noise in every pixel.

Images here are planes [3, h, w] float32 with values about 0..1: numpy is several times faster when the last axes are long.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np


def photograph(rng: np.random.Generator, side: int, zoom: int = 1) -> np.ndarray:
    """Draws a photograph [3, side, side] in 0..1: a scene after optics, exposure, sensor noise and tone curve.

    `zoom` is the enlargement still to come. The optics are sharper by that factor, and the noise is stronger because
    enlarging will soften it, so that real and fake images overlap in blur and in noise.
    """
    optics, denoising = rng.uniform(0.0, (1.5, 0.6)) / zoom  # px
    image = _blur(_scene(rng, side), optics)
    image *= rng.uniform(0.1, 0.4) / image.mean()
    photon, read = log_uniform(rng, 0.004, 0.04, (2,)) * (1.0 if zoom == 1 else 2.0)
    image += noise(rng, image.shape) * np.sqrt(np.float32(photon**2) * image + np.float32((0.3 * read) ** 2))
    image = _blur(image, denoising)
    return np.sqrt(image.clip(0.0, 1.0))


def _scene(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draws radiance [3, side, side] >= 0: textured, shaded leaves that occlude each other.

    The sizes of the leaves follow a power law, so that the spectrum falls as in photographs ("dead leaves").
    """
    grains = [_fractal_noise(rng, side, rng.uniform(*alpha)) for alpha in ((0.8, 2.0), (2.0, 3.5))]
    count = int(rng.integers(4, 25))
    light = rng.normal(0.0, 0.15, 3)
    colours = np.exp(light + rng.normal(0.0, 0.7, (count, 1)) + rng.normal(0.0, 0.2, (count, 3)))
    reliefs = colours * log_uniform(rng, 0.05, 0.5, (count, 1)) * rng.normal(1.0, 0.2, (count, 3))
    colours, reliefs = (np.asarray(x, np.float32)[..., None, None] for x in (colours, reliefs))
    image = colours[0] + reliefs[0] * grains[rng.integers(2)]  # the ground
    widest, narrowest = 1.0 / (0.6 * side), 1.0 / (0.04 * side)
    radii = 1.0 / rng.uniform(widest, narrowest, count)  # px, density ~ radius^-2
    for leaf, chances in enumerate(rng.random((count, 8)).tolist()[1:], start=1):
        _paint_leaf(image, float(radii[leaf]), colours[leaf], reliefs[leaf], grains, chances)
    return image.clip(0.0)


def _paint_leaf(
    image: np.ndarray,
    radius: float,
    colour: np.ndarray,
    relief: np.ndarray,
    grains: Sequence[np.ndarray],
    chances: Sequence[float],
) -> None:
    """Paints an ellipse or a rectangle over image [3, side, side], in place.

    Args:
      image: is changed.
      radius: half the length of the leaf, in pixels.
      colour: radiance, [3, 1, 1].
      relief: strength of the texture, [3, 1, 1].
      grains: textures [side, side]; that of the leaf is cut from one of them.
      chances: eight numbers in 0..1 that decide everything else.
    """
    row, column, angle, squeeze, shape, softness, shading, shift = chances
    side, square = image.shape[-1], shape < 0.4
    ramp = 1.0 if softness < 0.7 else 1.0 + (softness - 0.7) * radius  # width of the edge, px; most are sharp
    reach = radius * (1.5 if square else 1.0) + ramp
    top, bottom = max(int(row * side - reach), 0), min(int(row * side + reach) + 1, side)
    left, right = max(int(column * side - reach), 0), min(int(column * side + reach) + 1, side)
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - row * side
    x = np.arange(left, right, dtype=np.float32) - column * side
    cos, sin, narrow = math.cos(math.pi * angle), math.sin(math.pi * angle), 1.0 + 1.5 * squeeze
    u, v = cos * x + sin * y, (cos * narrow) * y - (sin * narrow) * x
    distance = np.maximum(np.abs(u), np.abs(v)) if square else np.sqrt(u * u + v * v)
    cover = np.minimum(np.maximum((radius / ramp + 0.5) - distance * (1.0 / ramp), 0.0), 1.0)
    down, over = int(shift * (side - bottom + top + 1)), int(angle * (side - right + left + 1))
    grain = grains[squeeze < 0.5][down : down + bottom - top, over : over + right - left]
    surface = colour * (u * (0.6 * shading / radius) + 1.0)
    surface += relief * grain
    window = image[:, top:bottom, left:right]
    surface -= window
    surface *= cover
    window += surface


def _fractal_noise(rng: np.random.Generator, side: int, alpha: float) -> np.ndarray:
    """Draws noise [side, side] with mean 0, standard deviation 1 and power falling as 1/f^alpha."""
    log_f = _log_frequency(side)
    white = noise(rng, (*log_f.shape, 2)).view(np.complex64)[..., 0]
    coloured = np.fft.irfft2(white * np.exp(-alpha / 2 * log_f), s=(side, side))
    return (coloured / coloured.std()).astype(np.float32)


@cache
def _log_frequency(side: int) -> np.ndarray:
    """Logarithm of the frequency in cycles per pixel, [side, side // 2 + 1]; infinite at 0, where no power belongs."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    f[0, 0] = np.inf
    return np.log(f).astype(np.float32)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs image [3, h, w] with a Gaussian of `sigma` pixels, edges replicated."""
    reach = math.ceil(2.0 * sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 0.1)) ** 2).astype(np.float32)
    taps = np.tile(taps / taps.sum(), (3, 1, 1))
    return correlate(correlate(pad(image, reach), taps), taps.swapaxes(1, 2))


def pad(image: np.ndarray, reach: int) -> np.ndarray:
    """Pads image [3, h, w] to [3, h + 2 reach, w + 2 reach], edges replicated."""
    return np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="edge")


def correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlates each channel of image [3, h, w] with its own kernel [3, a, b], to [3, h - a + 1, w - b + 1]."""
    rows, columns = image.shape[1] - kernel.shape[1] + 1, image.shape[2] - kernel.shape[2] + 1
    result = np.zeros((3, rows, columns), np.float32)
    for row in range(kernel.shape[1]):
        for column in range(kernel.shape[2]):
            result += kernel[:, row, column, None, None] * image[:, row : row + rows, column : column + columns]
    return result


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws noise with mean 0 and standard deviation 1, float32: sums of four random bytes, near enough to normal.

    Three times faster than true normal numbers, which would take a large share of the time per image.
    """
    first, *others = rng.integers(0, 256, (4, *shape), np.uint8)
    total = first.astype(np.uint16)
    for other in others:
        total += other
    return (total - np.float32(4 * 127.5)) * np.float32((4 * (256**2 - 1) / 12) ** -0.5)


def log_uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Draws from `low` to `high`, uniformly in the logarithm."""
    return np.exp(rng.uniform(np.log(low), np.log(high), shape))
