"""Presets of `config.data.augment`: the degradations that a training image may go through before the crop.

A preset file assigns one of them to `config.data.augment`. What each degradation does, and in which order, is in
transforms.py and docs/augmentation.md. None of them knows the label of an image.
"""

import math

from ml_collections import ConfigDict

from lfm_jax.errors import ConfigError
from lfm_jax.runtime.fields import Field, Group

# Of each degradation: the field that holds its range of strengths, and the lowest and highest strength that make sense.
RANGES = {"scale": ("factor", 0.05, 20), "blur": ("sigma", 0, 50), "noise": ("sigma", 0, 255), "jpeg": ("quality", 1, 100)}
RANGES["webp"] = RANGES["first_jpeg"] = RANGES["jpeg"]


FIELDS = Group(
    after_resize=Field(
        True, "Degrade after the resize, as CNNDetection does; False: the image as decoded, as another upload would degrade it."
    ),
    around_crop=Field(
        False,
        "Degrade only the part of an image that the crop is then taken from, which costs far less on large images. Parts begin "
        "at multiples of 16 px, as the blocks of a JPEG of the whole image would.",
    ),
    untouched=Field(0.0, "Share of the images that are cropped and flipped, and not degraded at all.", least=0, most=1),
    first_jpeg=Group(
        p=Field(0.0, "Probability of saving as JPEG before everything else, as a camera does."),
        quality=Field((75, 98), "Range of its quality, whole numbers, both ends included."),
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


def as_files_are() -> ConfigDict:
    """What happens to images on their way to a user, alike for both classes; a quarter of them stay as they are.

    Some were a camera's JPEG first, even if the file at hand is not; some are scaled, saved as JPEG, saved as WebP, or several
    of these. Only the part around the crop is degraded.
    """
    config = none()
    config.after_resize, config.around_crop, config.untouched = False, True, 0.25
    config.first_jpeg = ConfigDict({"p": 0.3, "quality": (75, 98)})
    config.scale = ConfigDict({"p": 0.35, "factor": (0.4, 1.5)})
    config.jpeg = ConfigDict({"p": 0.5, "quality": (50, 98)})
    config.webp = ConfigDict({"p": 0.2, "quality": (50, 98)})
    return config


def mild() -> ConfigDict:
    """The same, half as often and less of it, for aligned fakes: of a badly degraded pair nobody can tell which is which."""
    config = as_files_are()
    config.untouched = 0.5
    config.scale.factor = (0.6, 1.5)
    config.jpeg.quality = config.webp.quality = (75, 98)
    return config


def cnndetection(p: float = 0.5) -> ConfigDict:
    """The augmentation of CNNDetection (CVPR 2020): blur and JPEG, each with probability `p`; published with 0.5 and 0.1."""
    config = none()
    config.blur = ConfigDict({"p": p, "sigma": (0.0, 3.0)})
    config.jpeg = ConfigDict({"p": p, "quality": (30, 100)})
    return config


def equalised() -> ConfigDict:
    """The same random re-encoding for real and fake, so that the format of a file says less about its label.

    It applies to the image as decoded. One image in six is left alone; the others are scaled, saved as JPEG, saved as
    WebP, or several of these.
    """
    config = none()
    config.after_resize = False
    config.scale = ConfigDict({"p": 0.3, "factor": (0.5, 1.5)})
    config.jpeg = ConfigDict({"p": 0.65, "quality": (50, 100)})
    config.webp = ConfigDict({"p": 0.3, "quality": (50, 100)})
    return config


def of_run(data: ConfigDict) -> dict[str, ConfigDict]:
    """The augmentations of a data config by their fields: one, and that of the aligned pairs where there are any."""
    return {"augment": data.augment} | ({"aligned.augment": data.aligned.augment} if data.aligned.share else {})


def check(config: ConfigDict, field: str) -> None:
    """Checks the probabilities and ranges of an augmentation, which is called `field` in messages.

    Raises:
      ConfigError: one of them makes no sense; names the field and its value.
    """
    for name, (strength, lowest, highest) in RANGES.items():
        p, bounds = config[name].p, config[name][strength]
        if not 0 <= p <= 1:
            raise ConfigError(f"{field}.{name}.p = {p}: expected a probability, 0 to 1")
        if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or not lowest <= bounds[0] <= bounds[1] <= highest:
            raise ConfigError(
                f"{field}.{name}.{strength} = {tuple(bounds)}: expected (low, high) with {lowest} <= low <= high <= {highest}"
            )
