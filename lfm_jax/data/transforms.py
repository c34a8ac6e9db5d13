"""From a decoded image to the pixels of a training batch: resize, degradations, crop, flip; pure functions.

In: an RGB PIL image, the data config, a numpy Generator. Out: an RGB PIL image of the crop's size. The order is
fixed: [degradations] resize [degradations] crop, flip, with `config.augment.after_resize` choosing the place;
the degradations among themselves go scale, blur, noise, JPEG, WebP, as a picture is taken and passed on.
"""

import io

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data.images import ImageError

ORDER = ("scale", "blur", "noise", "jpeg", "webp")
MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}  # px that the formats can hold


def settle(image: Image.Image, config: ConfigDict) -> Image.Image:
    """RGB image -> after what `augment` does to it each time before the first random step: that may be done once."""
    first_random = not config.augment.after_resize and any(config.augment[name].p for name in ORDER)
    return image if first_random else _resized(image, config.resize)


def augment(image: Image.Image, config: ConfigDict, rng: np.random.Generator) -> Image.Image:
    """RGB image, settled or not -> the random view of it that a training batch holds, `config.crop` px square where that is set.

    Crop and flip are drawn from `rng`, the degradations from a child of it: turning one on moves no other draw.

    Raises:
      ImageError: it is smaller than the crop.
    """
    later = config.augment.after_resize
    if not later:
        image = degrade(image, config.augment, rng, least=0 if config.resize else config.crop)
    image = _resized(image, config.resize)
    if later:
        image = degrade(image, config.augment, rng, least=config.crop)
    if config.crop:
        image = random_crop(image, config.crop, rng)
    if config.flip and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def degrade(image: Image.Image, config: ConfigDict, rng: np.random.Generator, *, least: int = 0) -> Image.Image:
    """RGB image -> the image after the degradations drawn for it from a child of `rng`; both sides stay >= `least` px."""
    if not any(config[name].p for name in ORDER):
        return image
    own = rng.spawn(1)[0]
    for name, amount in draw(config, own).items():
        if name == "scale":
            image = scale(image, amount, least=least)
        elif name == "noise":
            image = noise(image, amount, own)
        else:
            image = {"blur": blur, "jpeg": jpeg, "webp": webp}[name](image, amount)
    return image


def draw(config: ConfigDict, rng: np.random.Generator) -> dict[str, float]:
    """Which degradations an image gets and how strong, in the order they are applied.

    Each has its own two of the numbers drawn, so that one's probability or range leaves the others as they are.
    """
    drawn: dict[str, float] = {}
    for name, (chance, place) in zip(ORDER, rng.random((len(ORDER), 2)).tolist(), strict=True):
        if chance >= config[name].p:
            continue
        if name == "scale":
            low, high = config.scale.factor
            drawn[name] = low * (high / low) ** place
        elif name in ("blur", "noise"):
            low, high = config[name].sigma
            drawn[name] = low + (high - low) * place
        else:
            low, high = config[name].quality
            drawn[name] = low + int((high - low + 1) * place)
    return drawn


def scale(image: Image.Image, factor: float, *, least: int = 0) -> Image.Image:
    """RGB image -> both sides times `factor`, PIL's antialiased bicubic; an image of `least` px or more stays so."""
    factor = max(factor, min(1.0, least / min(image.size)))
    width, height = (max(round(side * factor), 1) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def blur(image: Image.Image, sigma: float) -> Image.Image:
    """RGB image -> Gaussian of `sigma` px by scipy on bytes, as CNNDetection does: cut at 4 sigma, mirrored at the
    edges, and rounded down after each of its two passes."""
    from scipy.ndimage import gaussian_filter

    return Image.fromarray(gaussian_filter(np.asarray(image), (sigma, sigma, 0)))


def noise(image: Image.Image, sigma: float, rng: np.random.Generator) -> Image.Image:
    """RGB image -> with Gaussian noise of `sigma` levels on every value, rounded, cut off at 0 and 255."""
    pixels = np.asarray(image)
    noisy = pixels + np.float32(sigma) * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: float) -> Image.Image:
    """RGB image -> saved as JPEG by PIL (libjpeg's defaults, so chroma at half resolution) and read again."""
    return _reencoded(image, "JPEG", int(quality))


def webp(image: Image.Image, quality: float) -> Image.Image:
    """RGB image -> saved as lossy WebP by PIL (its defaults) and read again."""
    return _reencoded(image, "WEBP", int(quality))


def random_crop(image: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    """RGB image -> `side` px square from anywhere in it. Raises ImageError for one that is smaller."""
    width, height = image.size
    if min(height, width) < side:
        raise ImageError(f"{width} x {height} px is smaller than config.data.crop = {side}")
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return image.crop((left, top, left + side, top + side))


def _resized(image: Image.Image, side: int) -> Image.Image:
    if not side or image.size == (side, side):
        return image
    return image.resize((side, side), Image.Resampling.BILINEAR)


def _reencoded(image: Image.Image, file_format: str, quality: int) -> Image.Image:
    if max(image.size) > MAX_SIDE[file_format]:  # nobody could have saved it so
        return image
    file = io.BytesIO()
    image.save(file, file_format, quality=quality)
    with Image.open(file, formats=[file_format]) as again:
        return again.convert("RGB")
