"""Evaluation protocols: how an image becomes the pixels that are scored (SPEC section 4).

In: a PIL image. Out: uint8 [N, h, w, 3], one piece or several tiles, and how their logits make the image's. A
protocol's name says all there is to it and stands in every result row; results under different names are never averaged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lfm_jax.errors import UserError

EXAMPLES = "native, resize256, crop224, crop256, crop224_pad, crop256_pad, resize256_crop224, tiles256, tiles256_stride128_top25"
Box = tuple[int, int, int, int]
_NAME = re.compile(
    r"native|(?:resize(?P<resize>[1-9]\d*))?(?:(?:^|(?<=\d)_)crop(?P<crop>[1-9]\d*)(?P<pad>_pad)?)?"
    r"|tiles(?P<tiles>[1-9]\d*)(?:_stride(?P<stride>[1-9]\d*))?(?:_top(?P<top>[1-9]\d?))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Protocol:
    """`resize`: bilinear to a square without keeping the aspect, 0 none. `crop`: centre crop, 0 none.

    `tiles`: squares of that side, `stride` px apart, 0 none; the image's logit is the mean over the `top` percent of its
    tiles that look most fake.
    """

    name: str
    resize: int = 0
    crop: int = 0
    pad: bool = False
    tiles: int = 0
    stride: int = 0
    top: int = 100

    def __call__(self, image: Image.Image) -> np.ndarray:
        """RGB image -> uint8 [N, h, w, 3]; N is 1 for all but tiles."""
        if self.resize:
            image = image.resize((self.resize, self.resize), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        if self.tiles:
            return tiled(pixels, self.tiles, self.stride)
        return (centre_crop(pixels, self.crop, pad=self.pad) if self.crop else pixels)[None]

    def logit(self, logits: Sequence[float] | np.ndarray) -> float:
        """Logits of an image's pieces -> its own."""
        return float(np.mean(np.asarray(logits, np.float32)[self.chosen(logits)]))

    def chosen(self, logits: Sequence[float] | np.ndarray) -> np.ndarray:
        """Logits of an image's pieces -> indices of those that its own is the mean of, the lowest first."""
        return np.argsort(np.asarray(logits, np.float32), kind="stable")[len(logits) - -(-len(logits) * self.top // 100) :]

    def corners(self, width: int, height: int) -> list[tuple[int, int]]:
        """(left, top) of each piece in the image once resized; below 0 where `pad` puts zeros before it."""
        width, height = self.resize or width, self.resize or height
        if self.tiles:
            rows, columns = (_offsets(length, self.tiles, self.stride) for length in (height, width))
            return [(left, top) for top in rows for left in columns]
        if not self.crop:
            return [(0, 0)]
        before = [max(self.crop - length, 0) // 2 if self.pad else 0 for length in (width, height)]
        return [(_crop_offset(width, self.crop) - before[0], _crop_offset(height, self.crop) - before[1])]

    def source_box(self, box: Box, width: int, height: int) -> Box:
        """(x0, y0, x1, y1) in the image once resized -> of all pixels of the width x height image that it is made from."""
        x0, y0, x1, y1 = box
        (x0, x1), (y0, y1) = _source_range(x0, x1, self.resize, width), _source_range(y0, y1, self.resize, height)
        return x0, y0, x1, y1

    def words(self) -> str:
        """What is done to an image, in a sentence."""
        steps = [f"scaled to {self.resize} x {self.resize} px, bilinear, the aspect not kept"] if self.resize else []
        if self.crop:
            shorter = "is padded with zeros" if self.pad else "is kept whole"
            steps.append(f"the central {self.crop} x {self.crop} px, where a shorter side {shorter}")
        return ("; then ".join(steps) or "the image as it is, at its own size") + "."


def parse(name: str) -> Protocol:
    """Protocol name -> Protocol.

    Raises:
      UserError: not a protocol name.
    """
    match = _NAME.fullmatch(name)
    if not match or not name:
        raise UserError(f"unknown protocol {name!r}: expected one of {EXAMPLES} (other sizes work as well)")
    resize, crop, tiles = (int(match[part] or 0) for part in ("resize", "crop", "tiles"))
    stride = int(match["stride"] or tiles)
    if stride > tiles or stride % 2 or tiles % 2:
        raise UserError(f"protocol {name!r}: tiles and stride must be even, and no pixel be left between two tiles")
    return Protocol(name, resize, crop, bool(match["pad"]), tiles, stride, int(match["top"] or 100))


def centre_crop(pixels: np.ndarray, side: int, *, pad: bool = False) -> np.ndarray:
    """pixels [H, W, 3] -> [min(H, side), min(W, side), 3], or [side, side, 3] zero-padded with `pad`.

    Offsets are rounded half to even, padding puts the odd pixel right and below, both as torchvision does.
    """
    if pad:
        gaps = [max(side - length, 0) for length in pixels.shape[:2]]
        pixels = np.pad(pixels, [(gap // 2, gap - gap // 2) for gap in gaps] + [(0, 0)])
    top, left = (_crop_offset(length, side) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _crop_offset(length: int, side: int) -> int:
    return max(round((length - side) / 2), 0)


def _source_range(first: int, last: int, resized: int, length: int) -> tuple[int, int]:
    """Pixels first..last - 1 of `length` ones resized to `resized` -> those that PIL's bilinear filter makes them from."""
    if resized and resized != length:
        scale = length / resized
        reach = max(scale, 1.0)
        first, last = int(max((first + 0.5) * scale - reach + 0.5, 0)), int((last - 0.5) * scale + reach + 0.5)
    return min(max(first, 0), length), min(max(last, 0), length)


def tiled(pixels: np.ndarray, side: int, stride: int) -> np.ndarray:
    """pixels [H, W, 3] -> [N, min(H, side), min(W, side), 3]: as many tiles as fit, centred, row by row.

    Offsets are even, so that a tile's 2 x 2 blocks are those of the image.
    """
    rows, columns = (_offsets(length, side, stride) for length in pixels.shape[:2])
    return np.stack([pixels[top : top + side, left : left + side] for top in rows for left in columns])


def _offsets(length: int, side: int, stride: int) -> range:
    rest = max(length - side, 0)
    first = rest % stride // 4 * 2
    return range(first, rest + 1, stride)
