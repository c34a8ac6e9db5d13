"""Evaluation protocols: which pixels of an image are scored.

The field reports results under several of them (resized, cropped, at full size), and they differ by many points. A
protocol is therefore fully described by its name, the name is in every result row, and results under different names
are never averaged. See docs/evaluation.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lfm_jax.errors import UserError

EXAMPLES = "native, resize256, crop224, crop256, crop224_pad, crop256_pad, resize256_crop224, tiles256, tiles256_stride128_top25"
MAX_SIDE = 4096  # px of an image that a protocol makes itself, by resizing or padding; 50 MB
Box = tuple[int, int, int, int]  # x0, y0, x1, y1, the last two exclusive
_NAME = re.compile(
    r"native|(?:resize(?P<resize>[1-9]\d*))?(?:(?:^|(?<=\d)_)crop(?P<crop>[1-9]\d*)(?P<pad>_pad)?)?"
    r"|tiles(?P<tiles>[1-9]\d*)(?:_stride(?P<stride>[1-9]\d*))?(?:_top(?P<top>[1-9]\d?))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Protocol:
    """How an image is cut into the pieces that are scored, and how their logits make that of the image.

    Attributes:
      name: all of the following in one word; see `parse`.
      resize: side in pixels of the square to resize to, bilinear, without keeping the aspect; 0 for none.
      crop: side in pixels of the centre crop; 0 for none.
      pad: whether an image smaller than the crop is padded with zeros; otherwise its shorter side is kept whole.
      tiles: side in pixels of the tiles to cut; 0 for none.
      stride: from one tile to the next, in pixels.
      top: percentage of the tiles, those that look most fake, whose mean logit is the logit of the image.
    """

    name: str
    resize: int = 0
    crop: int = 0
    pad: bool = False
    tiles: int = 0
    stride: int = 0
    top: int = 100

    def __call__(self, image: Image.Image) -> np.ndarray:
        """RGB image -> its pieces, uint8 [N, h, w, 3]. N is 1 except for tiles."""
        if self.resize:
            image = image.resize((self.resize, self.resize), Image.Resampling.BILINEAR)
        width, height = self.piece_size(*image.size)
        if (width, height) == image.size:
            return np.asarray(image)[None]
        # PIL cuts, and puts zeros outside: an array of the whole image takes six bytes per pixel more while it is made.
        corners = self.corners(*image.size)
        pieces = np.empty((len(corners), height, width, 3), np.uint8)
        for piece, (left, top) in zip(pieces, corners, strict=True):
            piece[:] = np.asarray(image.crop((left, top, left + width, top + height)))
        return pieces

    def piece_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of each piece of an image."""
        width, height = (self.resize, self.resize) if self.resize else (width, height)
        if self.crop and self.pad:
            return self.crop, self.crop
        side = self.tiles or self.crop
        return (min(width, side), min(height, side)) if side else (width, height)

    def logit(self, logits: Sequence[float] | np.ndarray) -> float:
        """The logit of an image from those of its pieces [N]."""
        return float(np.mean(np.asarray(logits, np.float32)[self.chosen(logits)]))

    def chosen(self, logits: Sequence[float] | np.ndarray) -> np.ndarray:
        """Indices of the pieces whose mean is the logit of the image, the lowest logit first."""
        count = -(-len(logits) * self.top // 100)
        return np.argsort(np.asarray(logits, np.float32), kind="stable")[len(logits) - count :]

    def corners(self, width: int, height: int) -> list[tuple[int, int]]:
        """(left, top) of each piece in the resized image; negative where `pad` puts zeros in front of it.

        As in torchvision, offsets are rounded half to even and an odd pixel of padding goes to the right and below. Those of
        tiles are even, so that the 2 x 2 blocks of a tile are blocks of the image too; tiles are centred and go row by row.
        """
        width, height = self.resize or width, self.resize or height
        if self.tiles:
            rows, columns = (_offsets(length, self.tiles, self.stride) for length in (height, width))
            return [(left, top) for top in rows for left in columns]
        if not self.crop:
            return [(0, 0)]
        before = [max(self.crop - length, 0) // 2 if self.pad else 0 for length in (width, height)]
        return [(_crop_offset(width, self.crop) - before[0], _crop_offset(height, self.crop) - before[1])]

    def share(self, width: int, height: int) -> float:
        """How much of a width x height image is looked at, in (0, 1]; all of it where it is resized first."""
        if self.resize:
            width = height = self.resize
        seen = [min(self.crop or length, length) for length in (width, height)]
        if self.tiles:
            places = [_offsets(length, self.tiles, self.stride) for length in (width, height)]
            seen = [min(each[-1] - each[0] + self.tiles, length) for each, length in zip(places, (width, height), strict=True)]
        return seen[0] * seen[1] / (width * height)

    def source_box(self, box: Box, width: int, height: int) -> Box:
        """The box of those pixels of the width x height image from which a box of the resized image is made."""
        x0, y0, x1, y1 = box
        (x0, x1), (y0, y1) = _source_range(x0, x1, self.resize, width), _source_range(y0, y1, self.resize, height)
        return x0, y0, x1, y1

    def words(self) -> str:
        """What is done to an image, in a sentence."""
        steps = [f"resized to {self.resize} x {self.resize} px (bilinear, aspect not kept)"] if self.resize else []
        if self.crop:
            shorter = "padded with zeros" if self.pad else "kept whole"
            steps.append(f"the central {self.crop} x {self.crop} px (a shorter side is {shorter})")
        if self.tiles:
            mean = "all tiles" if self.top == 100 else f"the {self.top} % of tiles that look most fake"
            steps.append(f"tiles of {self.tiles} x {self.tiles} px, {self.stride} px apart; the logit is the mean over {mean}")
        return ("; then ".join(steps) or "the whole image at its own size") + "."


def parse(name: str) -> Protocol:
    """The protocol of that name: `native`, `resizeN`, `cropN`, `cropN_pad`, `resizeN_cropM`, `tilesN[_strideM][_topP]`.

    Raises:
      UserError: there is no such protocol, or it makes images of more than MAX_SIDE px on a side.
    """
    match = _NAME.fullmatch(name) if len(name) < 100 else None
    if not match or not name:
        raise UserError(f"unknown protocol {name!r}: expected one of {EXAMPLES} (any other sizes work too)")
    resize, crop, tiles = (int(match[part] or 0) for part in ("resize", "crop", "tiles"))
    stride = int(match["stride"] or tiles)
    if stride > tiles or stride % 2 or tiles % 2:
        raise UserError(f"protocol {name!r}: tile and stride must be even, and the stride no larger than the tile")
    if max(resize, crop if match["pad"] else 0) > MAX_SIDE:
        raise UserError(f"protocol {name!r}: resized and padded images may have up to {MAX_SIDE} px a side; give a smaller number")
    return Protocol(name, resize, crop, bool(match["pad"]), tiles, stride, int(match["top"] or 100))


def _crop_offset(length: int, side: int) -> int:
    return max(round((length - side) / 2), 0)


def _source_range(first: int, last: int, resized: int, length: int) -> tuple[int, int]:
    """The range of the `length` original pixels from which PIL's bilinear filter makes pixels first..last - 1 of `resized`."""
    if resized and resized != length:
        scale = length / resized
        reach = max(scale, 1.0)
        first, last = int(max((first + 0.5) * scale - reach + 0.5, 0)), int((last - 0.5) * scale + reach + 0.5)
    return min(max(first, 0), length), min(max(last, 0), length)


def _offsets(length: int, side: int, stride: int) -> range:
    rest = max(length - side, 0)
    first = rest % stride // 4 * 2
    return range(first, rest + 1, stride)
