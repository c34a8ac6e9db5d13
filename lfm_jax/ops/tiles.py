"""2 x 2 convolution by minimal filtering: 9 matrix products instead of 16 for each window of 2 x 2 sums.

A window of 2 x 2 neighbouring sums needs a tile of 3 x 3 activations, and the tile of the next window begins 2 px further.
In one dimension the sums d0 g0 + d1 g1 and d1 g0 + d2 g1 of three values and two weights are m0 + m1 and m1 - m2, of the
products m0 = (d0 - d1) g0, m1 = d1 (g0 + g1) and m2 = (d1 - d2) g1 (Winograd's F(2, 2)). All factors are 1 or -1, so the
rounding is that of a plain sum.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def tile_kernel(kernel: np.ndarray) -> np.ndarray:
    """kernel [2, 2, C, O] -> what the tiles are multiplied by, [3, 3, C, O]."""
    weights = np.array([[1, 0], [1, 1], [0, 1]], kernel.dtype)
    return np.einsum("ai,bj,ijco->abco", weights, weights, kernel)


def conv2x2_windows(x: jax.Array, tiles: jax.Array) -> list[jax.Array]:
    """The VALID convolution of x [B, H, W, C], one array per place in the windows of 2 x 2 sums.

    Args:
      x: activations [B, H, W, C].
      tiles: of `tile_kernel`, [3, 3, C, O].

    Returns:
      the sums at (0, 0), (0, 1), (1, 0), (1, 1) of every window, each [B, H // 2, W // 2, O]. Where a window reaches over
      the edge (even H or W), zeros take the place of the missing activations.
    """
    products = [
        [jnp.matmul(part, kernel, precision=lax.Precision.HIGHEST) for part, kernel in zip(_differences(band, 2), row, strict=True)]
        for band, row in zip(_differences(x, 1), tiles, strict=True)
    ]
    left, right = ([_sums(row)[side] for row in products] for side in (0, 1))
    return [_sums(column)[half] for half in (0, 1) for column in (left, right)]


def _differences(x: jax.Array, axis: int) -> list[jax.Array]:
    """d0 - d1, d1, d1 - d2 of the tiles along an axis, with zeros past its end."""
    count = x.shape[axis] // 2
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, 2 * count + 2 - x.shape[axis])
    pairs = jnp.pad(x, padding).reshape(*x.shape[:axis], count + 1, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, place, axis + 1, keepdims=False) for place in (0, 1))
    d0, d1, d2 = (lax.slice_in_dim(part, first, first + count, axis=axis) for part, first in ((even, 0), (odd, 0), (even, 1)))
    return [d0 - d1, d1, d1 - d2]


def _sums(products: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return products[0] + products[1], products[1] - products[2]
