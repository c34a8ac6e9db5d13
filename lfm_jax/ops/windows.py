"""Windows of 2 x 2 neighbouring sums of the first convolution, computed as a whole from the residuals that they see.

A window sees 3 x 3 pixels, four of them anchors, whose residual is zero. Five remain, `SEEN`: with three channels 15 values.
Each of its four sums is a product of these values with weights of its own.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lfm_jax.ops.conv import precision_of
from lfm_jax.ops.npr import Residual, crop_to_blocks

SEEN = ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1))  # pixels of a window that are no anchors, as (row, column)


def window_values(images: jax.Array, residual: Residual, dtype: Any) -> jax.Array:
    """The residuals in whole levels that each window sees, [B, h, w, 15], in the order of `SEEN`, by channel within a pixel.

    Differences from anchors are a convolution with 1 and -1, which a TPU is faster at than at moving pixels.
    """
    channels = images.shape[-1]
    weights = np.zeros((3, 3, channels, len(SEEN), channels), np.float32)
    for number, (row, column) in enumerate(SEEN):
        weights[row, column, :, number] = np.eye(channels)
        weights[row // 2 * 2, column // 2 * 2, :, number] = -np.eye(channels)
    layout, images = ("NHWC", "HWIO", "NHWC"), crop_to_blocks(images).astype(dtype)
    kernel = jnp.asarray(weights.reshape(3, 3, channels, -1), dtype)
    differences = lax.conv_general_dilated(
        images, kernel, (2, 2), "VALID", dimension_numbers=layout, precision=precision_of(images)
    )
    return jnp.abs(differences) if residual.kind == "abs" else differences


def window_values_by_strides(images: jax.Array, residual: Residual, dtype: Any) -> jax.Array:
    """`window_values` in the form that is fastest on a CPU: differences of pixels two apart, in float32."""
    levels = crop_to_blocks(images).astype(jnp.float32)
    height, width = (length // 2 * 2 - 2 for length in images.shape[1:3])

    def pixels(row: int, column: int) -> jax.Array:
        return levels[:, row : row + height : 2, column : column + width : 2]

    differences = jnp.concatenate([pixels(row, column) - pixels(row // 2 * 2, column // 2 * 2) for row, column in SEEN], -1)
    return (jnp.abs(differences) if residual.kind == "abs" else differences).astype(dtype)


def window_weights(kernel: jax.Array) -> jax.Array:
    """kernel [2, 2, 3, O] -> the weights of the four sums of a window, [4, 16, O]; the last value of each has none."""
    none = jnp.zeros_like(kernel[0, 0])
    sums = []
    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        places = ((row - top, column - left) for row, column in SEEN)
        rows = [kernel[place] if min(place) >= 0 and max(place) < 2 else none for place in places]
        sums.append(jnp.concatenate([*rows, none[:1]]))
    return jnp.stack(sums)


def kernel_of(weights: jax.Array) -> jax.Array:
    """The gradient of a kernel, [2, 2, 3, O], for that of its `window_weights`."""
    zeros = jax.ShapeDtypeStruct((2, 2, 3, weights.shape[-1]), weights.dtype)
    (kernel,) = jax.linear_transpose(window_weights, zeros)(weights)
    return kernel


def in_windows(values: jax.Array, weights: jax.Array, bias: jax.Array) -> jax.Array:
    """ReLU(largest sum of each window + bias), for values [B, h, w, V], weights [4, V, O] and bias [O]."""
    sums = jnp.einsum("bhwv,pvo->pbhwo", values, weights, precision=precision_of(values))
    return jax.nn.relu(sums.max(0) + bias.astype(values.dtype))
