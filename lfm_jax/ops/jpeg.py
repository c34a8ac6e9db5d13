"""Saving as baseline JPEG and reading back, as libjpeg does it, on a batch of images and with a quality of each.

ITU-T T.81 and JFIF, without the entropy coding, which loses nothing: RGB to YCbCr, chroma at half the resolution (4:2:0) or at
the full one (4:4:4), an 8 x 8 DCT, division by the quantisation table and rounding, and all of it back. Whole numbers are
rounded where libjpeg rounds them and sums are exact, so the result is what Pillow's encoder and decoder give: of pictures to
the bit, of noise but for a block here and there (docs/augmentation.md). Images are planes of whole levels, float32 [B, 3, H, W].
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lfm_jax.ops.resample import extended

Subsampling = Literal["4:2:0", "4:4:4"]
BLOCK = 8  # px, the side of a block
GRID = 16  # px, after which blocks begin anew in luma and in chroma of half the resolution

# T.81, tables K.1 and K.2.
LUMINANCE = """
16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55   14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
"""
CHROMINANCE = """
17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99   24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99
"""
TABLES = np.array([LUMINANCE.split(), CHROMINANCE.split()], np.int32)  # [2, 64]

# The DCT in whole numbers, sqrt(8) times the orthonormal matrix with 13 bits of fraction: the sums of the constants in libjpeg's
# accurate one. One pass goes along the rows of a block, the other along its columns; between them two bits of fraction are kept.
FRACTION, KEPT = 13, 2
LOWER = 1 << 7  # what the lower bits of a constant count up to
DCT = """
 8192   8192   8192   8192   8192   8192   8192   8192
11363   9633   6437   2260  -2260  -6437  -9633 -11363
10703   4433  -4433 -10703 -10703  -4433   4433  10703
 9633  -2259 -11362  -6436   6436  11362   2259  -9633
 8192  -8192  -8192   8192   8192  -8192  -8192   8192
 6437 -11362   2261   9633  -9633  -2261  11362  -6437
 4433 -10704  10704  -4433  -4433  10704 -10704   4433
 2260  -6436   9633 -11363  11363  -9633   6436  -2260
"""
MATRIX = np.array(DCT.split(), np.float32).reshape(BLOCK, BLOCK)
ALONG_ROWS, ALONG_COLUMNS = np.kron(np.eye(BLOCK), MATRIX), np.kron(MATRIX, np.eye(BLOCK))  # [64, 64], of a block's 64 values

# JFIF's colour transform with 16 bits of fraction; its rows are Y, Cb and Cr.
TO_YCBCR = np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], np.int32)
RED_OF_CR, GREEN_OF_CB, GREEN_OF_CR, BLUE_OF_CB = 91881, -22554, -46802, 116130


def jpeg(
    planes: jax.Array, quality: jax.Array, height: jax.Array, width: jax.Array, *, subsampling: Subsampling = "4:2:0"
) -> jax.Array:
    """What is read back of images that were saved as baseline JPEG.

    Args:
      planes: float32 [B, 3, H, W], red, green and blue in whole levels 0..255.
      quality: int32 [B], 1 to 100, as libjpeg counts it.
      height, width: int32 [B], of the image, which begins at the top left of the planes and may go on beyond them.
      subsampling: 4:2:0 is Pillow's default. It is decoded with the "fancy" (triangle) up-sampling that Pillow leaves on.

    Returns:
      float32 [B, 3, H, W], whole levels 0..255; what is beyond an image has no meaning.
    """
    sides = planes.shape[2:]
    fill = [(0, 0), (0, 0), *((0, -side % GRID) for side in sides)]
    luminance, chrominance = quantisation_tables(quality)
    luma, chroma = to_ycbcr(extended(jnp.pad(planes, fill, "edge"), height, width))
    luma = coded(luma, luminance)
    if subsampling == "4:4:4":
        chroma = coded(chroma, chrominance)
    else:
        half_height, half_width = (height + 1) // 2, (width + 1) // 2
        samples = coded(extended(halved(chroma), half_height, None), chrominance)
        chroma = doubled(extended(samples, half_height, half_width))
    return to_rgb(luma, chroma)[:, :, : sides[0], : sides[1]]


def quantisation_tables(quality: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The standard tables for luminance and chrominance at a quality of each image, int32 [B] -> two of float32 [B, 64]."""
    percent = jnp.where(quality < 50, 5000 // jnp.maximum(quality, 1), 200 - 2 * quality)
    tables = jnp.clip((TABLES[:, None] * percent[:, None] + 50) // 100, 1, 255).astype(jnp.float32)
    return tables[0], tables[1]


def to_ycbcr(planes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Y [B, 1, H, W] and Cb, Cr [B, 2, H, W] in whole levels, of RGB planes [B, 3, H, W]."""
    red, green, blue = jnp.moveaxis(planes.astype(jnp.int32), 1, 0)
    offsets = (1 << 15, (128 << 16) + (1 << 15) - 1, (128 << 16) + (1 << 15) - 1)
    weighted = (of_red * red + of_green * green + of_blue * blue for of_red, of_green, of_blue in TO_YCBCR.tolist())
    levels = jnp.stack([(total + offset) >> 16 for total, offset in zip(weighted, offsets, strict=True)], 1)
    return levels[:, :1].astype(jnp.float32), levels[:, 1:].astype(jnp.float32)


def to_rgb(luma: jax.Array, chroma: jax.Array) -> jax.Array:
    """RGB planes [B, 3, H, W] of Y [B, 1, H, W] and Cb, Cr [B, 2, H, W]."""
    y, (cb, cr) = luma[:, 0].astype(jnp.int32), jnp.moveaxis(chroma.astype(jnp.int32) - 128, 1, 0)
    half = 1 << 15
    red = y + ((RED_OF_CR * cr + half) >> 16)
    green = y + ((GREEN_OF_CB * cb + GREEN_OF_CR * cr + half) >> 16)
    blue = y + ((BLUE_OF_CB * cb + half) >> 16)
    return jnp.clip(jnp.stack([red, green, blue], 1), 0, 255).astype(jnp.float32)


def halved(planes: jax.Array) -> jax.Array:
    """Means of 2 x 2 px, [B, C, 2 h, 2 w] -> [B, C, h, w]; libjpeg rounds columns down and up in turn where it lies between."""
    rows = planes[:, :, ::2] + planes[:, :, 1::2]
    sums = rows[..., ::2] + rows[..., 1::2]
    return jnp.floor((sums + 1 + jnp.arange(sums.shape[3]) % 2) / 4)


def doubled(planes: jax.Array) -> jax.Array:
    """[B, C, h, w] -> [B, C, 2 h, 2 w], each value three parts of the nearest sample and one of the next, along both axes."""
    *lead, height, width = planes.shape
    near = jnp.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1)), "edge")
    above, below = (3 * near[:, :, 1:-1] + near[:, :, start : start + height] for start in (0, 2))
    rows = jnp.stack([above, below], 3).reshape(*lead, 2 * height, width + 2)
    left, right = (3 * rows[..., 1:-1] + rows[..., start : start + width] for start in (0, 2))
    return jnp.stack([jnp.floor((left + 8) / 16), jnp.floor((right + 7) / 16)], 4).reshape(*lead, 2 * height, 2 * width)


def coded(planes: jax.Array, table: jax.Array) -> jax.Array:
    """Components [B, C, H, W] of whole blocks after transform, quantisation by `table` [B, 64], and all of it back."""
    *lead, height, width = planes.shape
    rows, columns = height // BLOCK, width // BLOCK
    blocks = planes.reshape(*lead, rows, BLOCK, columns, BLOCK).swapaxes(3, 4).reshape(*lead, rows * columns, BLOCK * BLOCK)
    blocks = inverse_dct(quantised(forward_dct(blocks - 128), table[:, None, None])) + 128
    return jnp.clip(blocks, 0, 255).reshape(*lead, rows, columns, BLOCK, BLOCK).swapaxes(3, 4).reshape(planes.shape)


def quantised(coefficients: jax.Array, table: jax.Array) -> jax.Array:
    """The coefficients, 8 times as large as in T.81, rounded to multiples of the table's values, and 8 times smaller."""
    return jnp.sign(coefficients) * jnp.floor(jnp.abs(coefficients) / (8 * table) + 0.5) * table


def forward_dct(blocks: jax.Array) -> jax.Array:
    """Coefficients of blocks [..., 64], 8 times as large as in T.81 and rounded."""
    rows = _shifted(_product(blocks, ALONG_ROWS.T), FRACTION - KEPT)  # sums up to 128 levels times 2**16
    return _shifted(_long_product(rows, ALONG_COLUMNS.T), FRACTION + KEPT)


def inverse_dct(coefficients: jax.Array) -> jax.Array:
    """Levels around 0, rounded, of coefficients [..., 64] as T.81 has them."""
    columns = _shifted(_long_product(coefficients, ALONG_COLUMNS), FRACTION - KEPT)
    return _shifted(_long_product(columns, ALONG_ROWS), FRACTION + KEPT + 3)


def _product(blocks: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Whole numbers [..., 64] times a matrix of whole numbers, as int32.

    float32 holds sums up to 2**24 exactly, in whatever order a device adds them up.
    """
    return jnp.matmul(blocks, jnp.asarray(matrix, jnp.float32), precision=lax.Precision.HIGHEST).astype(jnp.int32)


def _long_product(blocks: jax.Array, matrix: np.ndarray) -> jax.Array:
    """The same for larger sums, up to 2**31: those of the constants' upper and lower bits stay below 2**24."""
    high, low = np.divmod(matrix, LOWER)
    upper, lower = jnp.split(_product(blocks, np.hstack([high, low])), 2, axis=-1)
    return upper * LOWER + lower


def _shifted(values: jax.Array, bits: int) -> jax.Array:
    """int32 divided by a power of 2 and rounded, as float32."""
    return ((values + (1 << (bits - 1))) >> bits).astype(jnp.float32)
