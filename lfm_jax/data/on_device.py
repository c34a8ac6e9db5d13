"""Degradation on the device: what of it a data config asks for. The host's side of it, the draws, is in device_draws.py.

With `config.data.augment_on = "device"` the host decodes, draws as it always does, and passes on a window of the image with
those draws; `lfm_jax.ops.degradation` does the rest inside the training step.
"""

import math

from ml_collections import ConfigDict

from lfm_jax.data import augmentations
from lfm_jax.errors import ConfigError
from lfm_jax.ops.degradation import MARGIN, Degradation
from lfm_jax.ops.jpeg import GRID
from lfm_jax.ops.resample import BLUR_REACH, CUBIC_REACH

HOST, DEVICE = "host", "device"
ROUNDING = 2  # px; scaled sizes are whole numbers


def degradation_of(config: ConfigDict) -> Degradation | None:
    """What the device does to images of `config`, the data config of a run; None where the host does it."""
    if config.augment_on == HOST:
        return None
    augments = augmentations.of_run(config).values()
    blur_reach = max((math.floor(BLUR_REACH * augment.blur.sigma[1] + 0.5) for augment in augments if augment.blur.p), default=0)
    first_jpeg, noise, jpeg = (any(augment[name].p for augment in augments) for name in ("first_jpeg", "noise", "jpeg"))
    sizeless = Degradation(config.crop, 0, blur_reach, first_jpeg, noise, jpeg)
    needed = max(_window(sizeless, augment, augment.around_crop) for augment in augments)
    return Degradation(config.crop, min(needed, config.resize or needed), blur_reach, first_jpeg, noise, jpeg)


def _window(degradation: Degradation, augment: ConfigDict, around_crop: bool) -> int:
    """Side in px of what is needed of an image, in the worst place and at the smallest scale that is drawn."""
    lowest = min(augment.scale.factor[0], 1.0) if augment.scale.p else 1.0
    part = degradation.part + 2 * degradation.blur_reach
    stretch = degradation.crop / (max(degradation.crop - 1, 1) * lowest)  # no scaled side is below the crop, nor exactly as drawn
    needed = math.ceil(part * stretch + 2 * CUBIC_REACH * stretch) + 2 * ROUNDING if augment.scale.p else part
    if around_crop:  # the parts that are degraded are no larger than this, and images left untouched are not scaled
        needed = min(needed, max((math.ceil(degradation.crop / lowest) // GRID + 2) * GRID, part))
    if degradation.first_jpeg:  # whole blocks, with the margin on both sides
        needed = (math.ceil((needed + 2 * MARGIN - 1) / GRID) + 1) * GRID
    return needed


def check(config: ConfigDict) -> None:
    """Checks that the device can do what a data config asks of it.

    Raises:
      ConfigError: it cannot; names the field and what to change.
    """
    if config.augment_on == HOST:
        return
    otherwise = f'or set config.data.augment_on = "{HOST}"'
    if not config.crop:
        raise ConfigError(f'config.data.crop = 0: config.data.augment_on = "{DEVICE}" takes a crop: set it, {otherwise}')
    for field, augment in augmentations.of_run(config).items():
        if augment.webp.p:
            raise ConfigError(f"config.data.{field}.webp.p = {augment.webp.p}: WebP is made on the host: set it to 0, {otherwise}")
        if config.resize and not augment.after_resize:
            raise ConfigError(
                f"config.data.{field}.after_resize = False: the device degrades only after config.data.resize = {config.resize}: "
                f"set one to True or the other to 0, {otherwise}"
            )
