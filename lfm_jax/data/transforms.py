"""From a decoded image to the pixels of a training batch: resize, degrade, crop, flip.

Pure functions of RGB PIL images, the data config and a numpy Generator. The order is fixed: resize, crop, flip, with
the degradations before or after the resize (`config.augment.after_resize`). Among the degradations it is scale, blur,
noise, JPEG, WebP: the order in which a picture suffers them as it is taken and passed on. A first JPEG, the camera's, may
come before them all.
"""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data.facts import KEY, facts_of
from lfm_jax.data.images import ImageError

ORDER = ("scale", "blur", "noise", "jpeg", "webp")
GRID = 16  # px; the blocks of a JPEG whose chroma has half the resolution
MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}  # px; what the formats can hold


def settle(image: Image.Image, config: ConfigDict) -> Image.Image:
    """Does what `augment` does before its first random step. This part is the same every time, so it may be done once."""
    first_random = not config.augment.after_resize and degrades(config.augment)
    return image if first_random else resized(image, config.resize)


def augment(image: Image.Image, config: ConfigDict, rng: np.random.Generator) -> Image.Image:
    """Makes the random view of an image that goes into a training batch.

    Crop and flip are drawn from `rng` and the degradations from a child of it, so turning one on changes no other draw.

    Args:
      image: RGB; settled or not, the result is the same.
      config: the data config. With `crop` set, the result is a square of that many pixels.
      rng: for this image alone.

    Raises:
      ImageError: the image is smaller than the crop.
    """
    after_resize = config.augment.after_resize
    if not after_resize:
        image = degrade(image, config.augment, rng, min_side=0 if config.resize else config.crop)
    if config.crop and config.resize and not (after_resize and degrades(config.augment)):
        image = _cropped_of_resized(image, config.resize, config.crop, rng)
    else:
        image = resized(image, config.resize)
        if after_resize:
            image = degrade(image, config.augment, rng, min_side=config.crop)
        if config.crop:
            image = random_crop(image, config.crop, rng)
    if config.flip and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def degrade(image: Image.Image, config: ConfigDict, rng: np.random.Generator, *, min_side: int = 0) -> Image.Image:
    """Applies to an RGB image the degradations drawn for it from children of `rng`.

    `config` is `config.data.augment` of a run. Scaling leaves no side below `min_side` pixels, the crop to come.
    """
    if not degrades(config):
        return image
    drawn = draw_all(config, rng)
    if drawn.untouched:
        return image
    if config.around_crop and min_side:
        image = image.crop(draw_part(image.size, min_side / min(drawn.strengths.get("scale", 1.0), 1.0), drawn.place))
    for name, strength in drawn.strengths.items():
        if name == "scale":
            image = scale(image, strength, min_side=min_side)
        elif name == "noise":
            image = noise(image, strength, drawn.pixels)
        else:
            image = {"first_jpeg": jpeg, "blur": blur, "jpeg": jpeg, "webp": webp}[name](image, strength)
    return image


class Drawn(NamedTuple):
    """What is drawn for one image before it is degraded.

    Attributes:
      untouched: it is left as it is.
      strengths: of the degradations it goes through, in their order.
      place: draws the part that is degraded.
      pixels: draws the noise.
    """

    untouched: bool
    strengths: dict[str, float]
    place: np.random.Generator
    pixels: np.random.Generator


def draw_all(config: ConfigDict, rng: np.random.Generator) -> Drawn:
    """Draws the degradations of one image from children of `rng`; `config` is `config.data.augment` of a run."""
    child, beforehand = rng.spawn(2)
    untouched, taken_as_jpeg, place = beforehand.random(3)
    first = {"first_jpeg": _quality(config.first_jpeg.quality, place)} if taken_as_jpeg < config.first_jpeg.p else {}
    return Drawn(bool(untouched < config.untouched), first | draw_degradations(config, child), beforehand, child)


def degrades(config: ConfigDict) -> bool:
    """Whether `config.data.augment` does anything at all."""
    return any(config[name].p for name in (*ORDER, "first_jpeg"))


def draw_degradations(config: ConfigDict, rng: np.random.Generator) -> dict[str, float]:
    """The degradations of one image and their strengths, in the order they are applied.

    Two numbers are drawn for each, used or not, so that changing the probability or range of one leaves the others alone.
    """
    strengths: dict[str, float] = {}
    for name, (chance, place) in zip(ORDER, rng.random((len(ORDER), 2)).tolist(), strict=True):
        if chance >= config[name].p:
            continue
        if name == "scale":
            low, high = config.scale.factor
            strengths[name] = low * (high / low) ** place
        elif name in ("blur", "noise"):
            low, high = config[name].sigma
            strengths[name] = low + (high - low) * place
        else:
            strengths[name] = _quality(config[name].quality, place)
    return strengths


def draw_part(size: tuple[int, int], side: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A part of an image of `size` a little larger than `side` px, as far as the image is, beginning on a 16 px grid.

    Returns:
      Its left, top, right and bottom.
    """
    lengths = [min(length, (math.ceil(side) // GRID + 2) * GRID) for length in size]
    left, top = (int(rng.integers((whole - part) // GRID + 1)) * GRID for whole, part in zip(size, lengths, strict=True))
    return left, top, left + lengths[0], top + lengths[1]


def scale(image: Image.Image, factor: float, *, min_side: int = 0) -> Image.Image:
    """Scales both sides of an RGB image by `factor` with PIL's antialiased bicubic filter.

    No side shrinks below `min_side` pixels; one that is below it already is not shrunk further.
    """
    return image.resize(scaled_size(image.size, factor, min_side), Image.Resampling.BICUBIC)


def scaled_size(size: tuple[int, int], factor: float, min_side: int) -> tuple[int, int]:
    """The size that `scale` gives to an image of `size`."""
    factor = max(factor, min(1.0, min_side / min(size)))
    width, height = (max(round(side * factor), 1) for side in size)
    return width, height


def blur(image: Image.Image, sigma: float) -> Image.Image:
    """Blurs an RGB image with a Gaussian of `sigma` pixels, as CNNDetection does.

    That is scipy's filter on bytes: cut off at 4 sigma, mirrored at the edges, rounded down after each of its two passes.
    """
    from scipy.ndimage import gaussian_filter

    return Image.fromarray(gaussian_filter(np.asarray(image), (sigma, sigma, 0)))


def noise(image: Image.Image, sigma: float, rng: np.random.Generator) -> Image.Image:
    """Adds Gaussian noise of `sigma` levels to every value of an RGB image, then rounds and clips to 0..255."""
    pixels = np.asarray(image)
    noisy = pixels + np.float32(sigma) * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: float) -> Image.Image:
    """Saves an RGB image as JPEG with PIL's defaults, which halve the resolution of chroma, and reads it back."""
    return _reencoded(image, "JPEG", int(quality))


def webp(image: Image.Image, quality: float) -> Image.Image:
    """Saves an RGB image as lossy WebP with PIL's defaults and reads it back."""
    return _reencoded(image, "WEBP", int(quality))


def random_crop(image: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    """Cuts a square of `side` pixels from anywhere in an RGB image. Raises ImageError if the image is smaller."""
    top, left = draw_corner(image.size, side, rng)
    return image.crop((left, top, left + side, top + side))


def draw_corner(size: tuple[int, int], side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a random square of `side` pixels in an image of `size`. Raises ImageError if the image is smaller."""
    width, height = size
    if min(height, width) < side:
        raise ImageError(f"{width} x {height} px is smaller than config.data.crop = {side}")
    return int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))


def _cropped_of_resized(image: Image.Image, resize: int, crop: int, rng: np.random.Generator) -> Image.Image:
    """The same pixels as `random_crop` of the resized image, of which only those within the crop are made where that is exact.

    It is where every corner on the original is a number that a float can hold, and where PIL filters rows before columns
    with or without the crop: it begins with columns in some upright images.
    """
    width, height = image.size
    if resize & (resize - 1) or width < height or image.size == (resize, resize):
        return random_crop(resized(image, resize), crop, rng)
    top, left = draw_corner((resize, resize), crop, rng)
    corners = [(left * width, top * height), ((left + crop) * width, (top + crop) * height)]
    (x0, y0), (x1, y1) = ((x / resize, y / resize) for x, y in corners)
    return image.resize((crop, crop), Image.Resampling.BILINEAR, box=(x0, y0, x1, y1))


def _quality(bounds: Sequence[int], place: float) -> int:
    low, high = bounds
    return low + int((high - low + 1) * place)


def resized(image: Image.Image, side: int) -> Image.Image:
    """Resizes an RGB image to a square of `side` pixels with PIL's bilinear filter; 0 keeps its size."""
    if not side or image.size == (side, side):
        return image
    return image.resize((side, side), Image.Resampling.BILINEAR)


def _reencoded(image: Image.Image, file_format: str, quality: int) -> Image.Image:
    if max(image.size) > MAX_SIDE[file_format]:  # nobody could have saved it in this format
        return image
    file = io.BytesIO()
    # Of a copy: PIL notes the quality on the image that it saves, and threads share images that are kept.
    image.copy().save(file, file_format, quality=quality)
    with Image.open(file, formats=[file_format]) as reread:
        decoded = reread.convert("RGB")
        decoded.info[KEY] = facts_of(reread)
        return decoded
