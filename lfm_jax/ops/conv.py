"""The spatial operations of SNet, with gradients that are fast on the backend at hand.

In: activations [B, H, W, C]. Both look right and down only (VALID, aligned), which is what makes an image
padded at its right and bottom give the values of the image alone. The forward pass is XLA's own everywhere.
On CPU its gradients of a 2 x 2 convolution (an unpacked correlation) and of `reduce_window` (a serial
scatter) are several times slower than the matrix products and selects written here; elsewhere they are not.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def conv2x2(x: jax.Array, kernel: jax.Array, *, own_gradient: bool | None = None) -> jax.Array:
    """x [B, H, W, C], kernel [2, 2, C, O] -> [B, H - 1, W - 1, O]: stride 1, VALID.

    `own_gradient` None: chosen by backend.
    """
    return (_conv2x2_own if _on_cpu(own_gradient) else _conv2x2)(x, kernel)


def conv1x1(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., C], kernel [C, O] -> float32 [..., O]."""
    return jnp.matmul(x, kernel, precision=_precision(x), preferred_element_type=jnp.float32)


def max_pool2x2(x: jax.Array, *, own_gradient: bool | None = None) -> jax.Array:
    """x [B, H, W, C] -> [B, H // 2, W // 2, C]: stride 2, an odd last row or column is left out.

    The gradient goes to the first maximum of a window. `own_gradient` None: chosen by backend.
    """
    return (_max_pool2x2_own if _on_cpu(own_gradient) else _max_pool2x2)(x)


def _conv2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout, precision=_precision(x))


def _conv2x2_gradient(saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    bordered = jnp.pad(grad, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x_grad = _conv2x2(bordered, kernel[::-1, ::-1].swapaxes(2, 3))
    # Flattened first: as an einsum over b, h and w this is no plain matrix product to XLA, and 3 times slower.
    views = (x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:])
    flat = grad.reshape(-1, grad.shape[-1])
    products = [jnp.matmul(view.reshape(-1, x.shape[-1]).T, flat, precision=_precision(x)) for view in views]
    return x_grad, jnp.stack(products).reshape(kernel.shape)


_conv2x2_own = jax.custom_vjp(_conv2x2)
_conv2x2_own.defvjp(lambda x, kernel: (_conv2x2(x, kernel), (x, kernel)), _conv2x2_gradient)


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


_max_pool2x2_own = jax.custom_vjp(_max_pool2x2)
_max_pool2x2_own.defvjp(lambda x: (_max_pool2x2(x), x), _max_pool2x2_gradient)


def _on_cpu(own_gradient: bool | None) -> bool:
    return jax.default_backend() == "cpu" if own_gradient is None else own_gradient


def _precision(x: jax.Array) -> lax.Precision:
    """float32 means float32: the default of GPU and TPU would round the factors to fewer bits."""
    return lax.Precision.HIGHEST if x.dtype == jnp.float32 else lax.Precision.DEFAULT
