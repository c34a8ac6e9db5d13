"""The spatial operations of SNet, forward and backward as they are fast on the platform that they are compiled for.

In: activations [B, H, W, C]. Both look right and down only (VALID, aligned), which is what makes an image
padded at its right and bottom give the values of the image alone. On CPU XLA has a convolution with a border
around the image computed by a faster routine than one without, so wide inputs get one, cut off again; its
gradients of a 2 x 2 convolution (an unpacked correlation) and of `reduce_window` (a serial scatter) are several
times slower than the matrix products and selects written here. Elsewhere XLA's own are as fast as any.
The choice is made when a program is lowered, so that one compiled ahead for another platform gets that one's.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NARROW = 16  # input channels below which one product of all four views costs less than four of so few rows
WIDE = 128  # input channels from which the faster routine outweighs cutting its border off, unless that stays in the cache


@jax.custom_vjp
def conv2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [B, H, W, C], kernel [2, 2, C, O] -> [B, H - 1, W - 1, O]: stride 1, VALID."""
    return lax.platform_dependent(x, kernel, cpu=fast_conv2x2 if x.shape[-1] >= WIDE else _conv2x2, default=_conv2x2)


def conv1x1(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., C], kernel [C, O] -> float32 [..., O]."""
    return jnp.matmul(x, kernel, precision=_precision(x), preferred_element_type=jnp.float32)


def padded_conv(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """x [B, H, W, C], kernel [S, S, C, O], S odd -> [B, ceil(H / stride), ceil(W / stride), O]: zeros around, S // 2 wide."""
    side = len(kernel)
    if side == 1:
        # Ends named as a convolution names them: where sides are symbols, ceil(H / 2) is not seen to be (H - 1) // 2 + 1.
        rows, columns = (slice(0, (length - 1) // stride * stride + 1, stride) for length in x.shape[1:3])
        return jnp.matmul(x[:, rows, columns], kernel[0, 0], precision=_precision(x))
    layout, border = ("NHWC", "HWIO", "NHWC"), ((side // 2, side // 2),) * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), border, dimension_numbers=layout, precision=_precision(x))


def max_pool3x3(x: jax.Array) -> jax.Array:
    """x [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C]: windows of 3 x 3 around every other position, cut off at the edge."""
    lowest, around = np.array(-np.inf, x.dtype), ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, lowest, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), around)


@jax.custom_vjp
def max_pool2x2(x: jax.Array) -> jax.Array:
    """x [B, H, W, C] -> [B, H // 2, W // 2, C]: stride 2, an odd last row or column is left out.

    The gradient goes to the first maximum of a window.
    """
    return _max_pool2x2(x)


def _conv2x2(x: jax.Array, kernel: jax.Array, border: int = 0) -> jax.Array:
    layout, sides = ("NHWC", "HWIO", "NHWC"), ((border, border),) * 2
    return lax.conv_general_dilated(x, kernel, (1, 1), sides, dimension_numbers=layout, precision=_precision(x))


def fast_conv2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv2x2` as it is fastest on CPU."""
    if x.shape[-1] < NARROW:
        return jnp.matmul(jnp.concatenate(_views(x), -1), kernel.reshape(-1, kernel.shape[-1]), precision=_precision(x))
    return _conv2x2(x, kernel, border=1)[:, 1:-1, 1:-1]


def fast_conv2x2_gradient(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_grad = _conv2x2(grad, kernel[::-1, ::-1].swapaxes(2, 3), border=1)
    views = [jnp.concatenate(_views(x), -1)] if x.shape[-1] < NARROW else _views(x)
    # Flattened first: as an einsum over b, h and w this is no plain matrix product to XLA, and 3 times slower.
    flat = grad.reshape(-1, grad.shape[-1])
    products = [jnp.matmul(view.reshape(-1, view.shape[-1]).T, flat, precision=_precision(x)) for view in views]
    return x_grad, jnp.stack(products).reshape(kernel.shape)


def _views(x: jax.Array) -> list[jax.Array]:
    """x [B, H, W, C] -> what each of the four weights looks at, row by row, each [B, H - 1, W - 1, C]."""
    return [x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]]


def _conv2x2_stock_gradient(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(_conv2x2, x, kernel)[1](grad)


def _max_pool2x2(x: jax.Array) -> jax.Array:
    lowest = np.array(-np.inf, x.dtype)
    return lax.reduce_window(x, lowest, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _max_pool2x2_gradient(x: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    batch, height, width, channels = grad.shape
    windows = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels)
    a, b, c, d = (windows[:, :, row, :, col] for row in (0, 1) for col in (0, 1))
    # Chosen by comparisons among the four, never by equality with the saved maximum: XLA may compute x again
    # with other rounding, and an equality that fails would lose the gradient.
    upper, left_above, left_below = jnp.maximum(a, b) >= jnp.maximum(c, d), a >= b, c >= d
    zero = jnp.zeros_like(grad)
    above, below = jnp.where(upper, grad, zero), jnp.where(upper, zero, grad)
    rows = [
        jnp.stack([jnp.where(left, half, zero), jnp.where(left, zero, half)], axis=3)
        for left, half in ((left_above, above), (left_below, below))
    ]
    x_grad = jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, channels)
    left_out = ((0, 0), (0, x.shape[1] - 2 * height), (0, x.shape[2] - 2 * width), (0, 0))
    return (jnp.pad(x_grad, left_out),)


def _max_pool2x2_stock_gradient(x: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    return jax.vjp(_max_pool2x2, x)[1](grad)


def _precision(x: jax.Array) -> lax.Precision:
    """float32 means float32: the default of GPU and TPU would round the factors to fewer bits."""
    return lax.Precision.HIGHEST if x.dtype == jnp.float32 else lax.Precision.DEFAULT


conv2x2.defvjp(
    lambda x, kernel: (conv2x2(x, kernel), (x, kernel)),
    lambda saved, grad: lax.platform_dependent(*saved, grad, cpu=fast_conv2x2_gradient, default=_conv2x2_stock_gradient),
)
max_pool2x2.defvjp(
    lambda x: (_max_pool2x2(x), x),
    lambda x, grad: lax.platform_dependent(x, grad, cpu=_max_pool2x2_gradient, default=_max_pool2x2_stock_gradient),
)
