"""The host's side of degradation on the device: the draws of an image, and the window of it that they need."""

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data.transforms import MAX_SIDE, Drawn, degrades, draw_all, draw_corner, draw_part, resized, scaled_size
from lfm_jax.ops.degradation import FIXED_POINT, MARGIN, Degradation, Draws
from lfm_jax.ops.jpeg import GRID
from lfm_jax.ops.resample import CUBIC_REACH


def window_and_draws(
    image: Image.Image, config: ConfigDict, rng: np.random.Generator, degradation: Degradation
) -> tuple[np.ndarray, np.ndarray]:
    """What the device needs to make the view that `transforms.augment` would make of an image, with the same draws.

    Args:
      image: RGB; settled or not.
      config: the data config.
      rng: for this image alone.
      degradation: of the run, `degradation_of(config)`.

    Returns:
      The window, uint8 [window, window, 3], and the `Draws`, int32 [15].

    Raises:
      ImageError: the image is smaller than the crop.
    """
    image = resized(image, config.resize)
    part, draws = part_and_draws(image.size, config, rng, degradation)
    return _window(image, part, draws, degradation.window), as_array(draws)


def part_and_draws(
    size: tuple[int, int], config: ConfigDict, rng: np.random.Generator, degradation: Degradation
) -> tuple[tuple[int, int, int, int], Draws]:
    """The part of a resized image of that size, width and height, which is degraded, and what is drawn for it.

    Returns:
      The part's left, top, right and bottom, and the `Draws`, in which the part is the image.

    Raises:
      ImageError: the image is smaller than the crop.
    """
    augment = config.augment
    drawn = draw_all(augment, rng) if degrades(augment) else None
    strengths = drawn.strengths if drawn and not drawn.untouched else {}
    part = (0, 0, *size)
    if drawn and not drawn.untouched and augment.around_crop:
        part = draw_part(size, config.crop / min(strengths.get("scale", 1.0), 1.0), drawn.place)
    width, height = part[2] - part[0], part[3] - part[1]
    new_width, new_height = new_size = (
        scaled_size((width, height), strengths["scale"], config.crop) if "scale" in strengths else (width, height)
    )
    crop_top, crop_left = draw_corner(new_size, config.crop, rng)
    flip = config.flip and rng.random() < 0.5
    draws = Draws(
        height=height,
        width=width,
        top=_window_start(degradation, crop_top, height, new_height),
        left=_window_start(degradation, crop_left, width, new_width),
        new_height=new_height,
        new_width=new_width,
        crop_top=crop_top,
        crop_left=crop_left,
        flip=flip,
        first_quality=_quality(strengths, "first_jpeg", (width, height)),
        quality=_quality(strengths, "jpeg", new_size),
        blur=round(strengths.get("blur", 0.0) * FIXED_POINT),
        noise=round(strengths.get("noise", 0.0) * FIXED_POINT),
        **_key(drawn if strengths.get("noise") else None),
    )
    return part, draws


def as_array(draws: Draws) -> np.ndarray:
    """The draws of an image as they travel, int32 [15]; the words of a key keep their bits."""
    return np.array(draws, np.int64).astype(np.int32)


def _window_start(degradation: Degradation, corner: int, length: int, new_length: int) -> int:
    """Where the window begins along one axis; it is all of an image that is no larger."""
    if length <= degradation.window:
        return 0
    start = max(degradation.part_start(corner) - degradation.blur_reach, 0)
    if length != new_length:
        factor = length / new_length
        start = max(int((start + 0.5) * factor - CUBIC_REACH * max(factor, 1.0)), 0)
    return max(start - MARGIN, 0) // GRID * GRID if degradation.first_jpeg else start


def _quality(strengths: dict[str, float], name: str, size: tuple[int, int]) -> int:
    return int(strengths.get(name, 0)) if max(size) <= MAX_SIDE["JPEG"] else 0


def _key(drawn: Drawn | None) -> dict[str, int]:
    high, low = drawn.pixels.integers(1 << 32, size=2).tolist() if drawn else (0, 0)
    return {"key_high": high, "key_low": low}


def _window(image: Image.Image, part: tuple[int, int, int, int], draws: Draws, side: int) -> np.ndarray:
    left, top = part[0] + draws.left, part[1] + draws.top
    pixels = np.asarray(image.crop((left, top, min(left + side, part[2]), min(top + side, part[3]))))
    missing = [(0, side - length) for length in pixels.shape[:2]]
    return np.pad(pixels, (*missing, (0, 0)), "edge") if pixels.shape[:2] != (side, side) else pixels
