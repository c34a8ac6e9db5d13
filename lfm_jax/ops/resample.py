"""Scaling, blurring and choosing pixels of a batch as matrix products, with sizes and strengths of each image.

A separable filter is a matrix for the rows and one for the columns. As matrices they take any number of strengths in one
program, and no gather over pixels, which is serial on a TPU. Images are planes of whole levels, float32 [B, C, H, W].
"""

import jax
import jax.numpy as jnp
from jax import lax

CUBIC = -0.5  # the free constant of Pillow's bicubic filter
CUBIC_REACH = 2.0  # px of the smaller of both sizes
BLUR_REACH = 4.0  # sigmas, where scipy cuts a Gaussian off
ALMOST_WHOLE = 2.0**-14  # levels; what float32 may lack of a whole level before it is rounded down


def scaling(places: jax.Array, before: jax.Array, after: jax.Array, first: jax.Array, count: int) -> jax.Array:
    """Matrices that scale a side of `before` pixels to one of `after`, as Pillow's antialiased bicubic filter does.

    Args:
      places: int32 [B, Q], which of the `after` pixels are wanted.
      before, after: int32 [B]. Where they are equal, the matrix moves pixels and changes none.
      first, count: the matrix is for the `count` pixels from number `first` (int32 [B]) on, which must hold all that are needed.

    Returns:
      float32 [B, Q, count], each row with sum 1; zeros for places that none of these pixels is near.
    """
    factor = (before / after)[:, None, None]
    stretch = jnp.maximum(factor, 1.0)
    centres, pixels = (places[:, :, None] + 0.5) * factor, first[:, None, None] + jnp.arange(count)
    reach = CUBIC_REACH * stretch
    low = jnp.maximum(jnp.floor(centres - reach + 0.5), 0)
    high = jnp.minimum(jnp.floor(centres + reach + 0.5), before[:, None, None])
    weights = jnp.where((pixels >= low) & (pixels < high), _cubic((pixels + 0.5 - centres) / stretch), 0.0)
    return weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-3)


def _cubic(distance: jax.Array) -> jax.Array:
    x = jnp.abs(distance)
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    return jnp.where(x < 1, near, jnp.where(x < CUBIC_REACH, far, 0.0))


def blurring(sigma: jax.Array, count: int, reach: int) -> jax.Array:
    """Matrices of a Gaussian blur, float32 [B, count, count + 2 reach], for sigmas [B] in px; 0 changes nothing."""
    distance = jnp.arange(count + 2 * reach) - reach - jnp.arange(count)[:, None]
    radius = jnp.floor(BLUR_REACH * sigma + 0.5)[:, None, None]
    exponent = -0.5 * distance**2 / jnp.maximum(sigma, 1e-3)[:, None, None] ** 2
    weights = jnp.where(jnp.abs(distance) <= radius, jnp.exp(exponent), 0.0)
    return weights / weights.sum(-1, keepdims=True)


def scaled(planes: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Planes [B, C, h, w] under matrices [B, H, h] and [B, W, w]: columns first, as Pillow does, rounded after each."""
    return _whole(along_rows(_whole(along_columns(planes, columns)), rows))


def blurred(planes: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Planes under the matrices of `blurring`: rows first, as scipy does on bytes, rounded down after each."""
    return jnp.floor(along_columns(jnp.floor(along_rows(planes, rows) + ALMOST_WHOLE), columns) + ALMOST_WHOLE)


def along_rows(planes: jax.Array, matrices: jax.Array) -> jax.Array:
    """[B, C, h, w] under [B, H, h] -> [B, C, H, w]."""
    return jnp.matmul(matrices[:, None], planes, precision=lax.Precision.HIGHEST)


def along_columns(planes: jax.Array, matrices: jax.Array) -> jax.Array:
    """[B, C, h, w] under [B, W, w] -> [B, C, h, W]."""
    return jnp.matmul(planes, matrices[:, None].swapaxes(2, 3), precision=lax.Precision.HIGHEST)


def chosen(places: jax.Array, count: int) -> jax.Array:
    """Matrices that pick the pixels `places` (int32 [B, Q]) out of `count`: float32 [B, Q, count] of zeros and ones."""
    return (places[:, :, None] == jnp.arange(count)).astype(jnp.float32)


def extended(planes: jax.Array, height: jax.Array, width: jax.Array | None) -> jax.Array:
    """Planes [B, C, H, W] of which `height` rows and `width` columns [B] belong to an image; its last ones are repeated.

    None leaves the columns alone.
    """
    for axis, length in ((2, height), (3, width)):
        if length is None:
            continue
        place = lax.broadcasted_iota(jnp.int32, planes.shape, axis)
        last = length[:, None, None, None] - 1
        outermost = jnp.where(place == last, planes, 0).sum(axis, keepdims=True)
        planes = jnp.where(place > last, outermost, planes)
    return planes


def mirrored(places: jax.Array, length: jax.Array) -> jax.Array:
    """Places [B, Q] beyond a side of `length` [B] pixels, mirrored into it at its edge: d c b a | a b c d."""
    length = length[:, None]
    around = places % (2 * length)
    return jnp.minimum(around, 2 * length - 1 - around)


def _whole(values: jax.Array) -> jax.Array:
    return jnp.clip(jnp.floor(values + 0.5), 0, 255)
