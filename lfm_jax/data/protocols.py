"""Evaluation protocols: how an image becomes the pixels that are scored (SPEC section 4).

In: a PIL image. Out: uint8 [h, w, 3]. A protocol's name says all there is to it and stands in every
result row; results under different names are never averaged.
"""

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lfm_jax.errors import UserError

EXAMPLES = "native, resize256, crop224, crop256, crop224_pad, crop256_pad, resize256_crop224"
_NAME = re.compile(r"native|(?:resize(?P<resize>[1-9]\d*))?(?:(?:^|(?<=\d)_)crop(?P<crop>[1-9]\d*)(?P<pad>_pad)?)?", re.ASCII)


@dataclass(frozen=True)
class Protocol:
    """`resize`: bilinear to a square without keeping the aspect, 0 none. `crop`: centre crop, 0 none."""

    name: str
    resize: int = 0
    crop: int = 0
    pad: bool = False

    def __call__(self, image: Image.Image) -> np.ndarray:
        """RGB image -> uint8 [h, w, 3]."""
        if self.resize:
            image = image.resize((self.resize, self.resize), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        return centre_crop(pixels, self.crop, pad=self.pad) if self.crop else pixels


def parse(name: str) -> Protocol:
    """Protocol name -> Protocol.

    Raises:
      UserError: not a protocol name.
    """
    match = _NAME.fullmatch(name)
    if not match or not name:
        raise UserError(f"unknown protocol {name!r}: expected one of {EXAMPLES} (other sizes work as well)")
    return Protocol(name, int(match["resize"] or 0), int(match["crop"] or 0), bool(match["pad"]))


def centre_crop(pixels: np.ndarray, side: int, *, pad: bool = False) -> np.ndarray:
    """pixels [H, W, 3] -> [min(H, side), min(W, side), 3], or [side, side, 3] zero-padded with `pad`.

    Offsets are rounded half to even, padding puts the odd pixel right and below, both as torchvision does.
    """
    if pad:
        gaps = [max(side - length, 0) for length in pixels.shape[:2]]
        pixels = np.pad(pixels, [(gap // 2, gap - gap // 2) for gap in gaps] + [(0, 0)])
    top, left = (max(round((length - side) / 2), 0) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]
