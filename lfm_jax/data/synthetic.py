"""Built-in images, real and fake, drawn on demand, so that a detector can be trained and tested with no download.

A real image is a procedural photograph (photographs.py). A fake is the same kind of photograph at 1/2 or 1/4 of the
side, enlarged by an up-sampling decoder like the last layers of a GAN or of a latent diffusion model. The dependencies
that this leaves between neighbouring pixels are the only thing that tells the two apart.
"""

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from lfm_jax.data.photographs import correlate, log_uniform, noise, pad, photograph

Draw = Callable[..., np.ndarray]

SIDE = 128  # px; of the images of the built-in benchmark, and the default of config.data.synthetic
SIZES: Mapping[str, int] = MappingProxyType({"train": 2048, "val": 256, "test": 512})  # images per split
MIN_SIDE = 48  # px; a smaller image gives the detector fewer than 16 positions to pool

# Generator -> its x2 up-sampling stages, the last one closest to the pixels. Each generator has its own weights.
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
        # Only in test: new instances of the families above, then families and combinations never trained on.
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

# One-dimensional taps of the x2 up-samplings: exact for interpolations, the starting point for learned ones.
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
# Range of the blur added by the convolution after an up-sampling, as a share of a 3 x 3 box; below 0 it sharpens.
# Trained decoders learn to compensate for their interpolation.
BLURS: Mapping[str, tuple[float, float]] = MappingProxyType({"nearest": (-0.2, 0.6), "bilinear": (-1.8, 0.0)})
OTHER_BLURS = (-0.6, 0.4)


def example(seed: int, split: str, index: int, side: int) -> tuple[np.ndarray, int, str]:
    """Draws one example: the image, uint8 [side, side, 3], its label (0 real, 1 fake) and the generator it is scored with.

    A pure function of its arguments. Even indices are real. The generators take turns every two indices, so any
    2 * len(GENERATORS[split]) consecutive examples hold one fake of each generator and one real scored beside it.

    Raises:
      ValueError: unknown split, or a side below `MIN_SIDE`.
    """
    if side < MIN_SIDE:
        raise ValueError(f"side = {side} px: expected at least {MIN_SIDE}")
    label, generator = assignment(split, index)
    rng = np.random.Generator(np.random.SFC64([seed, list(GENERATORS).index(split), index]))
    image = _generated(rng, side, generator) if label else photograph(rng, side)
    pixels = (image * 255.0 + 0.5).clip(0.0, 255.0).astype(np.uint8)
    return np.stack(list(pixels), axis=-1), label, generator


def assignment(split: str, index: int) -> tuple[int, str]:
    """Label and generator of an example, without drawing it. Raises ValueError for an unknown split."""
    if split not in GENERATORS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(GENERATORS)}")
    return index % 2, GENERATORS[split][index // 2 % len(GENERATORS[split])]


def _generated(rng: np.random.Generator, side: int, generator: str) -> np.ndarray:
    """Draws a fake [3, side, side], about 0..1: a small photograph enlarged by the decoder of `generator`."""
    zoom = 2 ** len(DECODERS[generator])
    # Decoders put their grid on the corner; one fake in four has been cropped off it.
    top, left = rng.integers(0, zoom, 2) if rng.random() < 0.25 else (0, 0)
    own = np.random.default_rng(zlib.crc32(generator.encode()))  # the weights of the generator, always the same

    def draw(*shape: int) -> np.ndarray:
        """Standard normal numbers, part from the generator and part from the image, as activations steer a decoder."""
        return 0.5 * own.standard_normal(shape) + 0.87 * rng.standard_normal(shape)

    image = photograph(rng, -(-(side + zoom - 1) // zoom), zoom)
    for stage, family in enumerate(DECODERS[generator]):
        if stage:  # detail at this scale, like the noise inputs of StyleGAN; the photograph has that of the first
            image += np.float32(log_uniform(rng, 0.01, 0.06)) * noise(rng, image.shape)
        image = _upsample(image, _upsampler(family, draw))
        image += np.float32(0.1 * draw()) * np.abs(image - np.float32(0.5))  # a leaky ReLU, up to a linear map
        image = correlate(pad(image, 1), _refiner(rng.uniform(*BLURS.get(family, OTHER_BLURS)), draw))
    image = image[:, top : top + side, left : left + side]
    return image + np.float32(rng.uniform(0.0, 0.002)) * noise(rng, image.shape)


def _upsampler(family: str, draw: Draw) -> np.ndarray:
    """Kernel [3, 2T, 2T] of a transposed convolution of stride 2; every x2 up-sampling can be written as one."""
    if family in INTERPOLATIONS:
        return _level(np.tile(np.outer(taps := INTERPOLATIONS[family], taps), (3, 1, 1)), stride=2)
    base = np.outer(taps := LEARNED[family], taps)
    kernel = _level(np.tile(base, (3, 1, 1)), stride=2)
    kernel += (base > 0) * (0.05 * draw(*base.shape) + 0.02 * draw(3, *base.shape))
    return _level(kernel, stride=2, ripple=0.01 * draw(2, 2))


def _refiner(blur: float, draw: Draw) -> np.ndarray:
    """Kernel [3, 3, 3] of the convolution after an up-sampling: smoothing (blur > 0) or sharpening, with gain 1."""
    kernel = 0.02 * draw(3, 3) + 0.01 * draw(3, 3, 3)
    kernel += blur / 9.0 - kernel.mean((1, 2), keepdims=True)
    kernel[:, 1, 1] += 1.0 - blur
    return kernel.astype(np.float32)


def _level(kernel: np.ndarray, stride: int, ripple: np.ndarray | float = 0.0) -> np.ndarray:
    """Scales kernel [3, K, K] to a gain of 1 + ripple [stride, stride] in each phase, so that brightness is kept.

    Trained decoders have some ripple, the faint checkerboard of transposed convolutions.
    """
    size = kernel.shape[-1] // stride
    phases = kernel.reshape(3, size, stride, size, stride)
    gain = phases.sum((1, 3)) / (1.0 + ripple)
    return (phases / gain[:, None, :, None]).reshape(kernel.shape).astype(np.float32)


def _upsample(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Transposed convolution of stride 2, edges replicated: image [3, h, w], kernel [3, 2T, 2T] -> [3, 2h, 2w].

    T = 2 is PyTorch's ConvTranspose2d(4, stride=2, padding=1); its taps (1, 3, 3, 1) / 4 give `F.interpolate`.
    """
    height, width = image.shape[1:]
    taps = kernel.shape[-1] // 2
    padded = pad(image, taps // 2)
    result = np.empty((3, 2 * height, 2 * width), np.float32)
    for row in (0, 1):
        for column in (0, 1):
            first = [(phase + taps - 1) % 2 for phase in (row, column)]
            skip = [0 if taps % 2 else phase for phase in (row, column)]
            phase = kernel[:, first[0] :: 2, first[1] :: 2][:, ::-1, ::-1]
            window = padded[:, skip[0] : skip[0] + height + taps - 1, skip[1] : skip[1] + width + taps - 1]
            result[:, row::2, column::2] = correlate(window, phase)
    return result
