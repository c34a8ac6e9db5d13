"""The NPR residual: what remains of an image when the top-left pixel of each 2 x 2 block is subtracted from the whole block.

The last up-sampling layer of a generator ties neighbouring pixels together, and this difference shows it (NPR, CVPR 2024,
arXiv 2312.10461). LFM (BMVC 2025, arXiv 2508.17029) takes its magnitude. Larger blocks and other pixels are for ablations.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ResidualKind = Literal["abs", "signed", "none"]


@dataclass(frozen=True)
class Residual:
    """Which residual to take of an image; the default is LFM's.

    Args:
      kind: "abs" is the magnitude (LFM), "signed" keeps the sign (NPR, with scale 2/3), "none" keeps the pixels themselves.
      scale: multiplies the result.
      factor: side in px of a block, even.
      anchor: (row, column) of the pixel that is subtracted from its block.

    Raises:
      ValueError: a value makes no sense; the message begins with the name of the field.
    """

    kind: ResidualKind = "abs"
    scale: float = 1.0
    factor: int = 2
    anchor: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.kind not in get_args(ResidualKind):
            raise ValueError(f"kind = {self.kind!r}: expected one of {', '.join(get_args(ResidualKind))}")
        if self.factor < 2 or self.factor % 2:
            raise ValueError(f"factor = {self.factor}: expected an even number, 2 or more")
        if len(self.anchor) != 2 or not all(0 <= place < self.factor for place in self.anchor):
            raise ValueError(
                f"anchor = {self.anchor}: expected (row, column) in a block of {self.factor} x {self.factor} px, "
                f"each 0 to {self.factor - 1}"
            )


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """(images / 255 - mean) / std, for images [B, H, W, C] of any real dtype with values 0..255; returns float32 [B, H, W, C].

    release: uint8 is rounded exactly as PyTorch rounds it, by a table made on the host. XLA would turn the divisions into
    products with reciprocals; that costs the last bit, which is 1e-5 of a residual and moves logits by 2e-4.
    """
    if images.dtype == jnp.uint8:
        levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
        table = jnp.asarray((levels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32))
        return table[images.astype(jnp.int32), jnp.arange(len(mean))]
    return (images.astype(jnp.float32) / 255.0 - jnp.float32(mean)) / jnp.float32(std)


def residual_of_pixels(
    images: jax.Array, *, mean: Sequence[float], std: Sequence[float], residual: Residual, dtype: jnp.dtype
) -> jax.Array:
    """`npr_residual` of `normalize`d images, in `dtype`: what the backbone is given.

    In fewer bits than float32 the levels of uint8 images are subtracted as they are, as the mean cancels. Whole numbers up to
    255 are exact in bfloat16, so the result is rounded once, as it is with the table; but looking pixels up in a table is
    serial on a TPU and took half of a step there. float32 keeps the table and its exact bits.
    """
    if images.dtype != jnp.uint8 or dtype == jnp.float32 or residual.kind == "none":
        return npr_residual(normalize(images, mean, std), residual=residual).astype(dtype)
    levels = npr_residual(images.astype(dtype), residual=replace(residual, scale=1.0))
    return (levels * (residual.scale / (255 * jnp.float32(std)))).astype(dtype)


def crop_to_blocks(images: jax.Array, factor: int = 2) -> jax.Array:
    """Drops the last rows and columns that fill no block: [B, H, W, C] -> [B, H - H % factor, W - W % factor, C].

    release: the released code crashes on odd sizes; dropping is the rule in NPR's README.
    """
    height, width = images.shape[1:3]
    return images[:, : height // factor * factor, : width // factor * factor]  # in this form jax sees that it fits an unknown size


def npr_residual(images: jax.Array, *, residual: Residual = Residual()) -> jax.Array:
    """scale * (x - up(down(x))) of images [B, H, W, C]; returns [B, H - H % factor, W - W % factor, C].

    down keeps one pixel of each aligned block, the anchor, and up repeats it over the block, so one value in factor^2 is 0.

    Raises:
      ValueError: `images` is not 4-D, or smaller than one block.
    """
    factor = residual.factor
    if images.ndim != 4 or images.shape[1] < factor or images.shape[2] < factor:
        raise ValueError(f"npr_residual takes images [B, H, W, C] of at least {factor} x {factor} px, got {images.shape}")
    images = crop_to_blocks(images, factor)
    if residual.kind == "none":
        return images * residual.scale
    repeat, shift = (functools.partial(form, residual=residual) for form in (_repeated_anchors, _shifted_anchors))
    difference = images - lax.platform_dependent(images, tpu=shift, default=repeat)
    return (jnp.abs(difference) if residual.kind == "abs" else difference) * residual.scale


def _repeated_anchors(images: jax.Array, *, residual: Residual) -> jax.Array:
    """The anchor of its block at every pixel of images [B, H, W, C], whose sides are multiples of the factor."""
    factor, (row, column) = residual.factor, residual.anchor
    anchors = images[:, row::factor, column::factor]
    return jnp.repeat(jnp.repeat(anchors, factor, axis=1), factor, axis=2)


def _shifted_anchors(images: jax.Array, *, residual: Residual) -> jax.Array:
    """`_repeated_anchors` by shifts and selections, which a TPU does in passing; repeating pixels takes it several passes."""
    for axis, anchor in enumerate(residual.anchor, start=1):
        places = lax.broadcasted_iota(jnp.int32, images.shape, axis) % residual.factor
        shifted = images
        for place in range(residual.factor):
            if place != anchor:
                along = (place - anchor, anchor - place, 0)
                border = [along if number == axis else (0, 0, 0) for number in range(images.ndim)]
                shifted = jnp.where(places == place, lax.pad(images, np.zeros((), images.dtype), border), shifted)
        images = shifted
    return images
