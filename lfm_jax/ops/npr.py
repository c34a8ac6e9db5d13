"""NPR residual: what is left of an image once each 2 x 2 block is replaced by its own top-left pixel.

In: images [B, H, W, C]. Out: residuals [B, H - H % 2, W - W % 2, C]. An up-sampling decoder ties
neighbouring pixels together, and this difference shows it (NPR, CVPR 2024; LFM feeds its magnitude).
Larger blocks and other pixels of theirs are for ablations.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

ResidualKind = Literal["abs", "signed", "none"]


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """images [B, H, W, C] in 0..255, any real dtype -> float32 [B, H, W, C], (images / 255 - mean) / std.

    release: uint8 is rounded exactly as PyTorch rounds it, by a table made on the host. XLA would turn the
    divisions into products with reciprocals; the last bit that this costs is 1e-5 of a residual, and moves
    logits by 2e-4.
    """
    if images.dtype == jnp.uint8:
        levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
        table = jnp.asarray((levels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32))
        return table[images.astype(jnp.int32), jnp.arange(len(mean))]
    return (images.astype(jnp.float32) / 255.0 - jnp.float32(mean)) / jnp.float32(std)


def crop_to_blocks(images: jax.Array, factor: int = 2) -> jax.Array:
    """images [B, H, W, C] -> [B, H - H % factor, W - W % factor, C]: last rows and columns that fill no block are dropped.

    The released code crashes on odd sizes; dropping is the rule of NPR's README.
    """
    height, width = images.shape[1:3]
    return images[:, : height // factor * factor, : width // factor * factor]  # so written, a size not yet known is seen to fit


def npr_residual(
    images: jax.Array,
    *,
    kind: ResidualKind = "abs",
    scale: float = 1.0,
    factor: int = 2,
    anchor: tuple[int, int] = (0, 0),
) -> jax.Array:
    """images [B, H, W, C] -> scale * residual [B, H - H % factor, W - W % factor, C].

    The residual is x - up(down(x)): down keeps the pixel at `anchor` (row, column) of each aligned block of
    factor x factor, up repeats it, so one value in factor^2 is exactly 0. `kind` "abs" is LFM's, "signed" with
    scale 2/3 is NPR's, "none" passes the image, cropped alike, through for ablations.

    Raises:
      ValueError: `images` is not 4-D or smaller than a block, `anchor` is outside it, or `kind` is unknown.
    """
    if images.ndim != 4 or images.shape[1] < factor or images.shape[2] < factor:
        raise ValueError(f"npr_residual takes images [B, H, W, C] of at least {factor} x {factor} px, got {images.shape}")
    if not all(0 <= place < factor for place in anchor):
        raise ValueError(f"anchor {anchor} is no pixel of a {factor} x {factor} block")
    images = crop_to_blocks(images, factor)
    if kind == "none":
        return images * scale
    row, column = anchor
    anchors = images[:, row::factor, column::factor]
    residual = images - jnp.repeat(jnp.repeat(anchors, factor, axis=1), factor, axis=2)
    if kind == "abs":
        return jnp.abs(residual) * scale
    if kind == "signed":
        return residual * scale
    raise ValueError(f"unknown residual kind {kind!r}: expected 'abs', 'signed' or 'none'")
