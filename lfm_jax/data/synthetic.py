"""Built-in images, real and fake, drawn on the fly: a detector can be trained and tested with no download.

In: seed, split, index, side. Out: a uint8 image, its label (0 real, 1 fake) and the generator it is scored with.
A real is a procedural scene seen through a camera, with detail and noise in every pixel. A fake is the same
kind of photograph at 1/2 or 1/4 of the side, enlarged by an up-sampling decoder like the last layers of a GAN
or of a latent diffusion model: the ties it leaves between neighbouring pixels are what tells the two apart.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType

import numpy as np

Draw = Callable[..., np.ndarray]

SIDE = 128  # px, of the benchmark's images; the defaults of config.data.synthetic
SIZES: Mapping[str, int] = MappingProxyType({"train": 2048, "val": 256, "test": 512})  # images a split
MIN_SIDE = 48  # px; a smaller image gives the detector fewer than 16 positions to pool

# Generator -> its x2 up-sampling stages in order, the last one closest to the pixels. Each generator has
# weights of its own.
DECODERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nearest_a": ("nearest",),
        "bilinear_a": ("bilinear",),
        "transposed_a": ("transposed4",),
        "pixel_shuffle_a": ("pixel_shuffle",),
        "nearest_b": ("nearest", "nearest"),
        "bilinear_b": ("bilinear", "bilinear"),
        "transposed_b": ("transposed3", "transposed3"),
        "pixel_shuffle_b": ("pixel_shuffle", "pixel_shuffle"),
        # Only in test: new instances of the families above, then families and successions never trained on.
        "nearest_c": ("nearest",),
        "bilinear_c": ("bilinear",),
        "transposed_c": ("transposed4",),
        "pixel_shuffle_c": ("pixel_shuffle",),
        "bicubic": ("bicubic",),
        "transposed5": ("transposed5",),
        "nearest_transposed": ("nearest", "transposed3"),
        "pixel_shuffle_bicubic": ("pixel_shuffle", "bicubic"),
    }
)
_SEEN, _UNSEEN = tuple(DECODERS)[:8], tuple(DECODERS)[8:]
GENERATORS: Mapping[str, tuple[str, ...]] = MappingProxyType({"train": _SEEN, "val": _SEEN, "test": _UNSEEN})

# One-dimensional taps of the x2 up-samplings: exact for interpolations, for the learned ones where they start from.
INTERPOLATIONS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "nearest": (1, 1),
        "bilinear": (1, 3, 3, 1),
        "bicubic": (-9, -27, 67, 225, 225, 67, -27, -9),  # Keys' kernel with a = -0.75, PyTorch's
    }
)
LEARNED: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "transposed3": (1, 2, 1, 0),
        "transposed4": (1, 3, 3, 1),
        "transposed5": (1, 4, 6, 4, 1, 0),
        "pixel_shuffle": (1, 1, 6, 6, 1, 1),  # a 3 x 3 filter for each of the four phases, interleaved
    }
)
# Range of the blur that the convolution after an up-sampling adds, as a share of a 3 x 3 box; below 0 it sharpens.
# Trained decoders learn to make up for their interpolation.
BLURS: Mapping[str, tuple[float, float]] = MappingProxyType({"nearest": (-0.2, 0.6), "bilinear": (-1.8, 0.0)})
OTHER_BLURS = (-0.6, 0.4)


def example(seed: int, split: str, index: int, side: int) -> tuple[np.ndarray, int, str]:
    """-> image [side, side, 3] uint8, label (0 real, 1 fake), generator; a pure function of its arguments.

    Even indices are real. The generators take turns every two indices, so any 2 * len(GENERATORS[split])
    consecutive examples hold one fake of each and one real that is scored beside it.

    Raises:
      ValueError: unknown split, or a side below `MIN_SIDE`.
    """
    if side < MIN_SIDE:
        raise ValueError(f"side = {side} px: expected at least {MIN_SIDE}")
    label, generator = assignment(split, index)
    rng = np.random.Generator(np.random.SFC64([seed, list(GENERATORS).index(split), index]))
    image = _generated(rng, side, generator) if label else _photograph(rng, side)
    pixels = (image * 255.0 + 0.5).clip(0.0, 255.0).astype(np.uint8)
    return np.stack(list(pixels), axis=-1), label, generator


def assignment(split: str, index: int) -> tuple[int, str]:
    """-> label and generator of an example, without drawing it. Raises ValueError for an unknown split."""
    if split not in GENERATORS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(GENERATORS)}")
    return index % 2, GENERATORS[split][index // 2 % len(GENERATORS[split])]


# Inside, images are planes [3, h, w] float32, about 0..1: numpy is several times faster with long last axes.


def _photograph(rng: np.random.Generator, side: int, zoom: int = 1) -> np.ndarray:
    """-> [3, side, side] in 0..1: a scene after optics, exposure, sensor noise and tone curve.

    `zoom` is the enlargement to come: the optics are sharper by as much, and the noise is stronger because
    enlarging will soften it, so that blur and noise of real and fake overlap.
    """
    optics, denoising = rng.uniform(0.0, (1.5, 0.6)) / zoom  # px
    image = _blur(_scene(rng, side), optics)
    image *= rng.uniform(0.1, 0.4) / image.mean()
    photon, read = _log_uniform(rng, 0.004, 0.04, (2,)) * (1.0 if zoom == 1 else 2.0)
    image += _noise(rng, image.shape) * np.sqrt(np.float32(photon**2) * image + np.float32((0.3 * read) ** 2))
    image = _blur(image, denoising)
    return np.sqrt(image.clip(0.0, 1.0))


def _scene(rng: np.random.Generator, side: int) -> np.ndarray:
    """-> [3, side, side] radiance >= 0: textured, shaded leaves that occlude each other.

    Leaf sizes follow a power law, which makes the spectrum fall as in photographs ("dead leaves").
    """
    grains = [_fractal_noise(rng, side, rng.uniform(*alpha)) for alpha in ((0.8, 2.0), (2.0, 3.5))]
    count = int(rng.integers(4, 25))
    light = rng.normal(0.0, 0.15, 3)
    colours = np.exp(light + rng.normal(0.0, 0.7, (count, 1)) + rng.normal(0.0, 0.2, (count, 3)))
    reliefs = colours * _log_uniform(rng, 0.05, 0.5, (count, 1)) * rng.normal(1.0, 0.2, (count, 3))
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
      radius: its half length, px.
      colour: [3] radiance.
      relief: [3] strength of its texture, which is cut from one of the `grains` [side, side].
      chances: eight numbers in 0..1 that settle the rest.
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
    """-> [side, side], mean 0, standard deviation 1, power falling as 1/f^alpha."""
    log_f = _log_frequency(side)
    white = _noise(rng, (*log_f.shape, 2)).view(np.complex64)[..., 0]
    noise = np.fft.irfft2(white * np.exp(-alpha / 2 * log_f), s=(side, side))
    return (noise / noise.std()).astype(np.float32)


@cache
def _log_frequency(side: int) -> np.ndarray:
    """-> [side, side // 2 + 1], log of cycles a pixel; infinite at 0, where no power belongs."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    f[0, 0] = np.inf
    return np.log(f).astype(np.float32)


def _generated(rng: np.random.Generator, side: int, generator: str) -> np.ndarray:
    """-> [3, side, side], about 0..1: a small photograph enlarged by the decoder of `generator`."""
    zoom = 2 ** len(DECODERS[generator])
    # Decoders put their grid on the corner; one fake in four has been cropped off it.
    top, left = rng.integers(0, zoom, 2) if rng.random() < 0.25 else (0, 0)
    own = np.random.default_rng(zlib.crc32(generator.encode()))  # the weights of the generator, the same each time

    def draw(*shape: int) -> np.ndarray:
        """Standard normal: in part the generator's own, in part this image's, as activations steer a decoder."""
        return 0.5 * own.standard_normal(shape) + 0.87 * rng.standard_normal(shape)

    image = _photograph(rng, -(-(side + zoom - 1) // zoom), zoom)
    for stage, family in enumerate(DECODERS[generator]):
        if stage:  # detail of its own size, like the noise inputs of StyleGAN; the photograph brings the first
            image += np.float32(_log_uniform(rng, 0.01, 0.06)) * _noise(rng, image.shape)
        image = _upsample(image, _upsampler(family, draw))
        image += np.float32(0.1 * draw()) * np.abs(image - np.float32(0.5))  # a leaky ReLU, up to a linear map
        image = _filter(_pad(image, 1), _refiner(rng.uniform(*BLURS.get(family, OTHER_BLURS)), draw))
    image = image[:, top : top + side, left : left + side]
    return image + np.float32(rng.uniform(0.0, 0.002)) * _noise(rng, image.shape)


def _upsampler(family: str, draw: Draw) -> np.ndarray:
    """-> kernel [3, 2T, 2T] of a stride 2 transposed convolution: every x2 up-sampling can be written as one."""
    if family in INTERPOLATIONS:
        return _level(np.tile(np.outer(taps := INTERPOLATIONS[family], taps), (3, 1, 1)), stride=2)
    base = np.outer(taps := LEARNED[family], taps)
    kernel = _level(np.tile(base, (3, 1, 1)), stride=2)
    kernel += (base > 0) * (0.05 * draw(*base.shape) + 0.02 * draw(3, *base.shape))
    return _level(kernel, stride=2, ripple=0.01 * draw(2, 2))


def _refiner(blur: float, draw: Draw) -> np.ndarray:
    """-> kernel [3, 3, 3] of the convolution after an up-sampling, smoothing (blur > 0) or sharpening, gain 1."""
    kernel = 0.02 * draw(3, 3) + 0.01 * draw(3, 3, 3)
    kernel += blur / 9.0 - kernel.mean((1, 2), keepdims=True)
    kernel[:, 1, 1] += 1.0 - blur
    return kernel.astype(np.float32)


def _level(kernel: np.ndarray, stride: int, ripple: np.ndarray | float = 0.0) -> np.ndarray:
    """kernel [3, K, K] -> with gain 1 + ripple [stride, stride] in each phase, so that brightness is kept.

    Trained decoders have some ripple: it is the faint checkerboard of transposed convolutions.
    """
    size = kernel.shape[-1] // stride
    phases = kernel.reshape(3, size, stride, size, stride)
    gain = phases.sum((1, 3)) / (1.0 + ripple)
    return (phases / gain[:, None, :, None]).reshape(kernel.shape).astype(np.float32)


def _upsample(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """image [3, h, w], kernel [3, 2T, 2T] -> [3, 2h, 2w]: transposed convolution, stride 2, edges replicated.

    T = 2 is PyTorch's ConvTranspose2d(4, stride=2, padding=1); its taps (1, 3, 3, 1) / 4 give `F.interpolate`.
    """
    height, width = image.shape[1:]
    taps = kernel.shape[-1] // 2
    padded = _pad(image, taps // 2)
    result = np.empty((3, 2 * height, 2 * width), np.float32)
    for row in (0, 1):
        for column in (0, 1):
            first = [(phase + taps - 1) % 2 for phase in (row, column)]
            skip = [0 if taps % 2 else phase for phase in (row, column)]
            phase = kernel[:, first[0] :: 2, first[1] :: 2][:, ::-1, ::-1]
            window = padded[:, skip[0] : skip[0] + height + taps - 1, skip[1] : skip[1] + width + taps - 1]
            result[:, row::2, column::2] = _filter(window, phase)
    return result


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """image [3, h, w] -> [3, h, w], Gaussian of `sigma` px, edges replicated."""
    reach = math.ceil(2.0 * sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 0.1)) ** 2).astype(np.float32)
    taps = np.tile(taps / taps.sum(), (3, 1, 1))
    return _filter(_filter(_pad(image, reach), taps), taps.swapaxes(1, 2))


def _pad(image: np.ndarray, reach: int) -> np.ndarray:
    """image [3, h, w] -> [3, h + 2 reach, w + 2 reach], edges replicated."""
    return np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="edge")


def _filter(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """image [3, h, w], kernel [3, a, b] -> [3, h - a + 1, w - b + 1]: correlation of each channel with its kernel."""
    rows, columns = image.shape[1] - kernel.shape[1] + 1, image.shape[2] - kernel.shape[2] + 1
    result = np.zeros((3, rows, columns), np.float32)
    for row in range(kernel.shape[1]):
        for column in range(kernel.shape[2]):
            result += kernel[:, row, column, None, None] * image[:, row : row + rows, column : column + columns]
    return result


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """-> `shape` float32, mean 0, standard deviation 1: sums of four random bytes, near enough to normal.

    Three times faster than true normals, which would be a large share of the time of an image.
    """
    first, *others = rng.integers(0, 256, (4, *shape), np.uint8)
    total = first.astype(np.uint16)
    for other in others:
        total += other
    return (total - np.float32(4 * 127.5)) * np.float32((4 * (256**2 - 1) / 12) ** -0.5)


def _log_uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...] = ()) -> np.ndarray:
    """-> `shape`, as many draws below as above the geometric mean of `low` and `high`."""
    return np.exp(rng.uniform(np.log(low), np.log(high), shape))
