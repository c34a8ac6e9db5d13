"""A training batch scaled, blurred, made noisy, saved as JPEG, cropped and flipped on the device, as drawn for each image.

What an image goes through, and how strongly, is in its `Draws`, numbers that come with the batch. They are data and no part
of the program, which is compiled once. Only a part of each image is computed: the crop, and what blur and the blocks of JPEG
need around it.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lfm_jax.ops import jpeg, resample

FIXED_POINT = 1 << 16  # strengths with a fraction are stored as multiples of 1 / FIXED_POINT
MARGIN = 2  # px; how far a pixel of a JPEG depends on the next block, by the up-sampling of its chroma


class Draws(NamedTuple):
    """What was drawn for one image: whole numbers, or int32 arrays [B] of a batch.

    Attributes:
      height, width: of the image before scaling, in px.
      top, left: where the window of it that is on the device begins.
      new_height, new_width: of the image after scaling.
      crop_top, crop_left: of the crop, in the scaled image.
      flip: 1 flips it horizontally.
      first_quality, quality: of the JPEGs before and after everything else; 0 saves none.
      blur, noise: sigmas in px and in levels, times FIXED_POINT; 0 for none.
      key_high, key_low: the two words of the threefry key of the noise.
    """

    height: Any
    width: Any
    top: Any
    left: Any
    new_height: Any
    new_width: Any
    crop_top: Any
    crop_left: Any
    flip: Any
    first_quality: Any
    quality: Any
    blur: Any
    noise: Any
    key_high: Any
    key_low: Any


@dataclass(frozen=True)
class Degradation:
    """What may happen to images on the device: the part of it that a program is compiled for.

    Attributes:
      crop: side of the result in px.
      window: side of what the device is given of an image, in px.
      blur_reach: of the widest blur, in px; 0 for none.
      first_jpeg, noise, jpeg: whether any image goes through these.
    """

    crop: int
    window: int
    blur_reach: int = 0
    first_jpeg: bool = False
    noise: bool = False
    jpeg: bool = False

    @property
    def part(self) -> int:
        """Side in px of the part of a scaled image that is computed: the crop and the blocks of JPEG that touch it."""
        grid = jpeg.GRID if self.jpeg else 1
        return -(-(self.crop + self.margin + (grid - 1) + self.margin) // grid) * grid

    @property
    def margin(self) -> int:
        """What that part has on each side of the crop, in px, at least and where the image has as much."""
        return MARGIN if self.jpeg else 0

    def part_start(self, corner: Any) -> Any:
        """Where that part begins for a crop that begins at `corner`: an int, or an array of them."""
        return (corner - self.margin) * (corner > self.margin) // jpeg.GRID * jpeg.GRID if self.jpeg else corner

    def __call__(self, images: jax.Array, draws: jax.Array) -> jax.Array:
        """The images of a training batch, uint8 [B, crop, crop, 3].

        Args:
          images: uint8 [B, window, window, 3], filled up by repeating the last row and column where an image is smaller.
          draws: int32 [B, len(Draws._fields)].
        """
        drawn = Draws(*jnp.moveaxis(draws, -1, 0))
        planes = jnp.moveaxis(images, -1, 1).astype(jnp.float32)
        if self.first_jpeg:
            planes = saved(planes, drawn.first_quality, drawn.height - drawn.top, drawn.width - drawn.left)
        top, left = self.part_start(drawn.crop_top), self.part_start(drawn.crop_left)
        planes = self._scaled(planes, drawn, top, left)
        if self.blur_reach:
            blur = resample.blurring(drawn.blur / FIXED_POINT, self.part, self.blur_reach)
            planes = resample.blurred(planes, blur, blur)
        if self.noise:
            planes = noisy(planes, drawn.noise / FIXED_POINT, jnp.stack([drawn.key_high, drawn.key_low], -1))
        if self.jpeg:
            planes = saved(planes, drawn.quality, drawn.new_height - top, drawn.new_width - left)
        return self._cropped(planes, drawn, top, left)

    def _scaled(self, planes: jax.Array, drawn: Draws, top: jax.Array, left: jax.Array) -> jax.Array:
        """The part of the scaled images, with the reach of the blur on all sides."""
        around = jnp.arange(-self.blur_reach, self.part + self.blur_reach)
        rows, columns = (
            resample.scaling(resample.mirrored(start[:, None] + around, after), before, after, first, self.window)
            for start, before, after, first in (
                (top, drawn.height, drawn.new_height, drawn.top),
                (left, drawn.width, drawn.new_width, drawn.left),
            )
        )
        return resample.scaled(planes, rows, columns)

    def _cropped(self, planes: jax.Array, drawn: Draws, top: jax.Array, left: jax.Array) -> jax.Array:
        along = jnp.arange(self.crop)
        across = jnp.where(drawn.flip[:, None] == 1, along[::-1], along)
        rows = resample.chosen((drawn.crop_top - top)[:, None] + along, self.part)
        columns = resample.chosen((drawn.crop_left - left)[:, None] + across, self.part)
        cropped = resample.along_columns(resample.along_rows(planes, rows), columns)
        return jnp.moveaxis(cropped, 1, -1).astype(jnp.uint8)


def saved(planes: jax.Array, quality: jax.Array, height: jax.Array, width: jax.Array) -> jax.Array:
    """Planes saved as JPEG and read back, as far as the image goes; those whose quality is 0 stay as they are."""
    read_back = jpeg.jpeg(planes, jnp.maximum(quality, 1), height, width)
    return jnp.where((quality > 0)[:, None, None, None], read_back, planes)


def noisy(planes: jax.Array, sigma: jax.Array, keys: jax.Array) -> jax.Array:
    """Planes with Gaussian noise of `sigma` levels [B], drawn from the threefry keys [B, 2], rounded and clipped."""

    def added(words: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.wrap_key_data(words, impl="threefry2x32"), planes.shape[1:])

    noise = jax.vmap(added)(keys.astype(jnp.uint32)) * sigma[:, None, None, None]
    return jnp.clip(jnp.rint(planes + noise), 0, 255)
