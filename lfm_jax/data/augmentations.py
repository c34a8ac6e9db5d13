"""Presets of `config.data.augment`: what a training image may go through on its way to the crop.

In: nothing, or a preset's own numbers. Out: a ConfigDict that a preset file assigns to `config.data.augment`.
What each transformation does, and their order: transforms.py. No preset knows labels.
"""

import math

from ml_collections import ConfigDict

from lfm_jax.errors import ConfigError
from lfm_jax.runtime.fields import Field, Group

# The numbers that make sense of each transformation's range.
RANGES = {"scale": ("factor", 0.05, 20), "blur": ("sigma", 0, 50), "noise": ("sigma", 0, 255), "jpeg": ("quality", 1, 100)}
RANGES["webp"] = RANGES["jpeg"]


FIELDS = Group(
    after_resize=Field(
        True, "Degrade after the resize, as CNNDetection does; False: the image as decoded, as another upload would degrade it."
    ),
    scale=Group(
        p=Field(0.0, "Probability of scaling an image."),
        factor=Field((0.5, 2.0), "Range of the factor on both sides, log-uniform, aspect kept; never below the crop."),
    ),
    blur=Group(p=Field(0.0, "Probability of a Gaussian blur."), sigma=Field((0.0, 3.0), "Range of its sigma in px.")),
    noise=Group(
        p=Field(0.0, "Probability of Gaussian noise, drawn for each value by itself."),
        sigma=Field((0.0, 8.0), "Range of its sigma in levels of 255."),
    ),
    jpeg=Group(
        p=Field(0.0, "Probability of saving as JPEG."),
        quality=Field((30, 100), "Range of its quality, whole numbers, both ends included."),
    ),
    webp=Group(
        p=Field(0.0, "Probability of saving as lossy WebP, several times slower than JPEG."),
        quality=Field((30, 100), "Range of its quality, whole numbers, both ends included."),
    ),
)


def none() -> ConfigDict:
    """Crop and flip alone, as the paper trains. The other presets start from it."""
    return FIELDS.config()


def cnndetection(p: float = 0.5) -> ConfigDict:
    """CNNDetection's grid (CVPR 2020): blur and JPEG with probability `p` each; published with 0.5 and 0.1."""
    config = none()
    config.blur = ConfigDict({"p": p, "sigma": (0.0, 3.0)})
    config.jpeg = ConfigDict({"p": p, "quality": (30, 100)})
    return config


def equalised() -> ConfigDict:
    """Real and fake through the same random re-encoding, so that the format files came in tells less of their label.

    On the image as decoded: one in six is left as it is, the rest scaled, saved as JPEG, as WebP, or several of them.
    """
    config = none()
    config.after_resize = False
    config.scale = ConfigDict({"p": 0.3, "factor": (0.5, 1.5)})
    config.jpeg = ConfigDict({"p": 0.65, "quality": (50, 100)})
    config.webp = ConfigDict({"p": 0.3, "quality": (50, 100)})
    return config


def check(config: ConfigDict) -> None:
    """Raises ConfigError, naming the field and its value, for a probability or a range that cannot be."""
    for name, (amount, least, most) in RANGES.items():
        p, bounds = config[name].p, config[name][amount]
        if not 0 <= p <= 1:
            raise ConfigError(f"config.data.augment.{name}.p = {p}: expected a probability, 0 to 1")
        if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or not least <= bounds[0] <= bounds[1] <= most:
            raise ConfigError(
                f"config.data.augment.{name}.{amount} = {tuple(bounds)}: expected (low, high) with {least} <= low <= high <= {most}"
            )
