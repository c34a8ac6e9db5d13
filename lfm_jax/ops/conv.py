"""Convolutions and max-pooling of activations [B, H, W, C], forward and backward, in the form that is fastest on each platform.

SNet's two operations look right and down only (VALID, aligned), so an image that is padded at its right and bottom gives
the values of the image alone. On a CPU, XLA computes a convolution with a border around the image by a faster routine than
one without, so wide inputs get a border that is cut off again. XLA's gradients of a 2 x 2 convolution (an unpacked
correlation) and of `reduce_window` (a serial scatter) are several times slower there than the matrix products and selects
written here. In bfloat16 every convolution there is written as matrix products, since only those use the bfloat16 units that
some CPUs have. On other platforms XLA's own forms are as fast as any. The form is chosen when a program is lowered, so a
program compiled ahead for another platform gets the one for that platform.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NARROW = 16  # with fewer input channels, one matrix product of all four views is faster than four products with so few rows
WIDE = 128  # from this many input channels on, the faster routine makes up for cutting its border off


@jax.custom_vjp
def conv2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves x [B, H, W, C] with kernel [2, 2, C, O], stride 1, VALID; returns [B, H - 1, W - 1, O]."""
    faster = x.shape[-1] >= WIDE or x.dtype == jnp.bfloat16
    return lax.platform_dependent(x, kernel, cpu=fast_conv2x2 if faster else plain_conv2x2, default=plain_conv2x2)


def conv1x1(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies the channels of x [..., C] by kernel [C, O]; returns float32 [..., O]."""
    return jnp.matmul(x, kernel, precision=precision_of(x), preferred_element_type=jnp.float32)


def padded_conv(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Convolves x [B, H, W, C] with kernel [S, S, C, O], S odd, with S // 2 zeros around the image.

    Returns [B, ceil(H / stride), ceil(W / stride), O].
    """
    side = len(kernel)
    if side == 1:
        # Written as a convolution writes them: where sides are symbols, jax does not see that ceil(H / 2) is (H - 1) // 2 + 1.
        rows, columns = (slice(0, (length - 1) // stride * stride + 1, stride) for length in x.shape[1:3])
        return jnp.matmul(x[:, rows, columns], kernel[0, 0], precision=precision_of(x))
    layout, border = ("NHWC", "HWIO", "NHWC"), ((side // 2, side // 2),) * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), border, dimension_numbers=layout, precision=precision_of(x))


def max_pool3x3(x: jax.Array) -> jax.Array:
    """The maximum of 3 x 3 windows around every other position, cut off at the edge; x [B, H, W, C].

    Returns [B, ceil(H / 2), ceil(W / 2), C].
    """
    lowest, around = np.array(-np.inf, x.dtype), ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, lowest, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), around)


@jax.custom_vjp
def max_pool2x2(x: jax.Array) -> jax.Array:
    """The maximum of aligned 2 x 2 windows of x [B, H, W, C]; an odd last row or column is left out.

    Returns [B, H // 2, W // 2, C].

    The gradient goes to the first maximum of a window.
    """
    return plain_max_pool2x2(x)


def conv_pool_relu(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """A block of a folded network, with kernel [2, 2, C, O] and bias [O]: x [B, H, W, C] -> [B, (H - 1) // 2, (W - 1) // 2, O].

    The maximum is taken before bias and ReLU, which keep its order.
    """
    kernel = kernel.astype(x.dtype)
    if x.dtype != jnp.bfloat16:
        return _conv_pool_relu(x, kernel, bias)

    def on_cpu(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return jax.nn.relu(max_pool2x2_by_strides(_by_one_product(x, kernel, dtype=jnp.float32)) + bias).astype(x.dtype)

    return lax.platform_dependent(x, kernel, bias, cpu=on_cpu, default=_conv_pool_relu)


def _conv_pool_relu(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return jax.nn.relu(max_pool2x2(conv2x2(x, kernel)) + bias.astype(x.dtype))


def conv_relu_conv1x1(x: jax.Array, kernel: jax.Array, bias: jax.Array, project: jax.Array) -> jax.Array:
    """The last block of a folded network and the projection [O, M] behind it: x [B, H, W, C] -> float32 [B, H - 1, W - 1, M]."""
    kernel, project = kernel.astype(x.dtype), project.astype(x.dtype)
    if x.dtype != jnp.bfloat16:
        return _conv_relu_conv1x1(x, kernel, bias, project)

    def on_cpu(x: jax.Array, kernel: jax.Array, bias: jax.Array, project: jax.Array) -> jax.Array:
        return conv1x1(jax.nn.relu(_by_one_product(x, kernel, dtype=jnp.float32) + bias).astype(x.dtype), project)

    return lax.platform_dependent(x, kernel, bias, project, cpu=on_cpu, default=_conv_relu_conv1x1)


def _conv_relu_conv1x1(x: jax.Array, kernel: jax.Array, bias: jax.Array, project: jax.Array) -> jax.Array:
    return conv1x1(jax.nn.relu(conv2x2(x, kernel) + bias.astype(x.dtype)), project)


def max_pool2x2_by_strides(x: jax.Array) -> jax.Array:
    """`max_pool2x2` without a gradient of its own, in the form that is fastest where XLA fuses it with what x comes from."""
    height, width = (length // 2 * 2 for length in x.shape[1:3])
    a, b, c, d = (x[:, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1))
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def plain_conv2x2(x: jax.Array, kernel: jax.Array, border: int = 0) -> jax.Array:
    layout, sides = ("NHWC", "HWIO", "NHWC"), ((border, border),) * 2
    return lax.conv_general_dilated(x, kernel, (1, 1), sides, dimension_numbers=layout, precision=precision_of(x))


def fast_conv2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv2x2` in the form that is fastest on a CPU."""
    if x.shape[-1] < NARROW or x.dtype == jnp.bfloat16:
        return _by_one_product(x, kernel)
    return plain_conv2x2(x, kernel, border=1)[:, 1:-1, 1:-1]


def _by_one_product(x: jax.Array, kernel: jax.Array, *, dtype: jnp.dtype | None = None) -> jax.Array:
    """`conv2x2` with a result in `dtype`: float32 for bfloat16 on a CPU, which is slow at all but products of bfloat16."""
    seen, weights = jnp.concatenate(views(x), -1), kernel.reshape(-1, kernel.shape[-1])
    return jnp.matmul(seen, weights, precision=precision_of(x), preferred_element_type=dtype)


def fast_conv2x2_gradient(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gradients of x and kernel for the gradient of the result, in the form that is fastest on a CPU."""
    if x.dtype == jnp.bfloat16:
        return _bfloat16_gradient(x, kernel, grad)
    x_grad = plain_conv2x2(grad, kernel[::-1, ::-1].swapaxes(2, 3), border=1)
    parts = [jnp.concatenate(views(x), -1)] if x.shape[-1] < NARROW else views(x)
    # Flattened first: XLA does not take an einsum over b, h and w for a plain matrix product, and is 3 times slower.
    flat = grad.reshape(-1, grad.shape[-1])
    products = [jnp.matmul(part.reshape(-1, part.shape[-1]).T, flat, precision=precision_of(x)) for part in parts]
    return x_grad, jnp.stack(products).reshape(kernel.shape)


def _bfloat16_gradient(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`fast_conv2x2_gradient` as matrix products alone, which a CPU with bfloat16 units computes many times faster."""
    batch, height, width, outputs = grad.shape
    channels = x.shape[-1]
    # What each of the four weights sends back, every one to its own place.
    parts = jnp.matmul(grad, kernel.reshape(-1, outputs).T).reshape(batch, height, width, 4, channels)
    borders = [(0, 0), (0, 1), (1, 0), (1, 1)]
    back = [
        jnp.pad(parts[:, :, :, part].astype(jnp.float32), ((0, 0), (top, 1 - top), (left, 1 - left), (0, 0)))
        for part, (top, left) in enumerate(borders)
    ]
    x_grad = back[0] + back[1] + back[2] + back[3]
    # The product with the identity is the transpose, to the bit, and costs a fraction of XLA's own.
    identity = jnp.eye(outputs, dtype=grad.dtype)
    transposed = lax.dot_general(identity, grad.reshape(-1, outputs), (((1,), (1,)), ((), ())))
    seen = jnp.concatenate(views(x), -1).reshape(-1, 4 * channels)
    kernel_grad = jnp.matmul(transposed, seen).reshape(outputs, 2, 2, channels)
    return x_grad.astype(x.dtype), kernel_grad.transpose(1, 2, 3, 0)


def views(x: jax.Array) -> list[jax.Array]:
    """What each of the four weights looks at in x [B, H, W, C], row by row, each [B, H - 1, W - 1, C]."""
    return [x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]]


def _conv2x2_gradient_elsewhere(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(plain_conv2x2, x, kernel)[1](grad)


def plain_max_pool2x2(x: jax.Array) -> jax.Array:
    lowest = np.array(-np.inf, x.dtype)
    return lax.reduce_window(x, lowest, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _max_pool2x2_gradient_on_cpu(x: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    batch, height, width, channels = grad.shape
    windows = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels)
    a, b, c, d = (windows[:, :, row, :, col] for row in (0, 1) for col in (0, 1))
    # The four are compared with each other, never with the saved maximum: XLA may compute x again with other rounding,
    # and an equality that fails would lose the gradient.
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


def _max_pool2x2_gradient_elsewhere(x: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    return jax.vjp(plain_max_pool2x2, x)[1](grad)


def precision_of(x: jax.Array) -> lax.Precision:
    """Keeps float32 products in float32: by default GPUs and TPUs round the factors to fewer bits."""
    return lax.Precision.HIGHEST if x.dtype == jnp.float32 else lax.Precision.DEFAULT


conv2x2.defvjp(
    lambda x, kernel: (conv2x2(x, kernel), (x, kernel)),
    lambda saved, grad: lax.platform_dependent(*saved, grad, cpu=fast_conv2x2_gradient, default=_conv2x2_gradient_elsewhere),
)
max_pool2x2.defvjp(
    lambda x: (plain_max_pool2x2(x), x),
    lambda x, grad: lax.platform_dependent(x, grad, cpu=_max_pool2x2_gradient_on_cpu, default=_max_pool2x2_gradient_elsewhere),
)
