"""NPR residual: what is left of an image once each 2 x 2 block is replaced by its own top-left pixel.

In: images [B, H, W, C]. Out: residuals [B, H - H % 2, W - W % 2, C]. An up-sampling decoder ties
neighbouring pixels together, and this difference shows it (NPR, CVPR 2024; LFM feeds its magnitude).
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


def crop_to_even(images: jax.Array) -> jax.Array:
    """images [B, H, W, C] -> [B, H - H % 2, W - W % 2, C]: an odd last row or column is dropped.

    The released code crashes on odd sizes; dropping is the rule of NPR's README.
    """
    height, width = images.shape[1:3]
    return images[:, : height // 2 * 2, : width // 2 * 2]  # so written, a size not yet known is seen to be even


def npr_residual(images: jax.Array, *, kind: ResidualKind = "abs", scale: float = 1.0) -> jax.Array:
    """images [B, H, W, C] -> scale * residual [B, H - H % 2, W - W % 2, C].

    The residual is x - up(down(x)): down keeps the top-left pixel of each aligned 2 x 2 block, up repeats
    it, so a quarter of the values are exactly 0. `kind` "abs" is LFM's, "signed" with scale 2/3 is NPR's,
    "none" passes the (even-cropped) image through for ablations.

    Raises:
      ValueError: `images` is not 4-D, is smaller than 2 x 2, or `kind` is unknown.
    """
    if images.ndim != 4 or images.shape[1] < 2 or images.shape[2] < 2:
        raise ValueError(f"npr_residual takes images [B, H, W, C] of at least 2 x 2 px, got {images.shape}")
    images = crop_to_even(images)
    if kind == "none":
        return images * scale
    anchors = images[:, ::2, ::2]
    residual = images - jnp.repeat(jnp.repeat(anchors, 2, axis=1), 2, axis=2)
    if kind == "abs":
        return jnp.abs(residual) * scale
    if kind == "signed":
        return residual * scale
    raise ValueError(f"unknown residual kind {kind!r}: expected 'abs', 'signed' or 'none'")
