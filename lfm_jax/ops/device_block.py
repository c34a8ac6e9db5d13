"""A block of the network in training as GPUs and TPUs are given it, where moving bytes costs more than computing.

The unpooled activations are the largest arrays of a step, and every pass over them counts:

- A negative scale of BatchNorm turns the largest value of a window into the smallest, so the sign of the scale goes into the
  kernel. Then pooling comes before the norm, which only sees pooled values.
- Mean and variance are taken in one pass, of values less a shift near their mean: the running mean.

With few input channels, as in the first block, the kernel's gradient does not need the gradient of every activation: what the
norm spreads over all positions is known from how the input and the activations vary together, a small matrix.

Beyond that the two differ. A TPU computes the statistics while it convolves, and has an instruction that hands the gradient of
a window to its largest value. It convolves the first block again for the gradient, some rows at a time, so that what is largest
of all is never kept. On a GPU both would take passes of their own. There the place of the largest value is written
down while pooling, one byte per window, and the first block's statistics follow from the moments of its input, which is far
smaller than what comes out. So its unpooled activations are not read again.
"""

import functools
import itertools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from lfm_jax.ops import norm
from lfm_jax.ops.conv import NARROW, max_pool2x2_by_strides, plain_conv2x2, plain_max_pool2x2, precision_of, views
from lfm_jax.ops.norm import Normed
from lfm_jax.ops.partitioned import by_image

Device = Literal["gpu", "tpu"]
Saved = tuple[Any, ...]
Moments = tuple[jax.Array, jax.Array]
STRIPS = 4  # in which a TPU takes the gradient of the first block's kernel; with two its compiler packs badly
CLOSED = 4  # instead of a place in the window, 0 to 3, where ReLU lets nothing through


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7))
def conv_pool_norm_relu(
    x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, shift: jax.Array, epsilon: float, pool: bool, device: Device
) -> Normed:
    """`ops.block.conv_norm_relu_pool` in the form for `device`."""
    return _forward(x, kernel, scale, bias, shift, epsilon, pool, device)[0]


def _forward(
    x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, shift: jax.Array, epsilon: float, pool: bool, device: Device
) -> tuple[Normed, Saved]:
    sign = sign_of(scale)
    signed = kernel * sign.astype(kernel.dtype)
    y = plain_conv2x2(x, signed)
    moments: Moments | None
    if _is_narrow(x) and device == "gpu":
        mean, var, moments = statistics_by_moments(view_products(x).sum(0), y.size // y.shape[-1], signed)
    else:
        mean, var = shifted_statistics(y, shift * sign)
        moments = moments_with(x, y, mean) if _is_narrow(x) else None
    strongest, places = _pooled(y, device) if pool else (y, None)
    result = norm.finish(strongest, mean, jnp.abs(scale) * lax.rsqrt(var + epsilon), bias)
    if places is not None:
        # The barrier makes XLA keep both for the gradient. It would rather pool again, from activations four times their size.
        strongest, places = lax.optimization_barrier((strongest, jnp.where(result > 0, places, CLOSED)))
    return (result, mean * sign, var), (x, kernel, scale, bias, mean, var, moments, strongest, places)


def _backward(epsilon: float, pool: bool, device: Device, saved: Saved, grads: Normed) -> Saved:
    x, kernel, scale, bias, mean, var, moments, strongest, places = saved
    sign = sign_of(scale)
    signed, size, inverse = kernel * sign.astype(kernel.dtype), jnp.abs(scale), lax.rsqrt(var + epsilon)
    y = plain_conv2x2(x, signed)  # by name: XLA sees that it is that of the forward pass
    if places is None:
        grad, size_grad, bias_grad = norm.through_relu(strongest, grads[0], mean, inverse, size, bias)
        at_y = jax.vjp(plain_max_pool2x2, y)[1](grad.astype(y.dtype))[0] if pool else grad
    else:
        grad = jnp.where(places == CLOSED, 0, grads[0].astype(jnp.float32))
        standard = (strongest.astype(jnp.float32) - mean) * inverse
        size_grad, bias_grad = (grad * standard).sum((0, 1, 2)), grad.sum((0, 1, 2))
        at_y = _at_places(grads[0], places, y.shape)
    count = y.size // y.shape[-1]
    y_grad = norm.through_norm(y, at_y, mean, inverse, size, size_grad / count, bias_grad / count)
    x_grad = jax.vjp(lambda x: plain_conv2x2(x, signed), x)[1](y_grad)[0]
    if moments is None:
        signed_grad = _kernel_gradient(x, y_grad, device)
    else:
        # The gradient of what the norm returns times size * inverse, less what goes through the mean and through the variance.
        average, covariance = moments
        spread = size * inverse * (bias_grad * average[:, None] + size_grad * inverse * covariance)
        if pool and device == "tpu":
            direct = _gradient_in_strips(x, signed, grad.astype(x.dtype), size * inverse)
        else:
            direct = size * inverse * _kernel_gradient(x, at_y.astype(x.dtype), device)
        signed_grad = direct - spread.reshape(kernel.shape)
    return x_grad, (signed_grad * sign).astype(kernel.dtype), size_grad * sign, bias_grad, jnp.zeros_like(scale)


conv_pool_norm_relu.defvjp(_forward, _backward)


def shifted_statistics(y: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean and biased variance [C] of y [B, H, W, C] in one pass, in float32.

    The square of the distance from `shift` [C] to the mean cancels in the variance: a distance of ten standard deviations
    costs two digits of float32's seven.
    """
    centred = y.astype(jnp.float32) - shift
    mean, square = centred.mean((0, 1, 2)), jnp.square(centred).mean((0, 1, 2))
    return mean + shift, jnp.maximum(square - jnp.square(mean), 0)


def view_products(x: jax.Array) -> jax.Array:
    """Of what a 2 x 2 kernel looks at in each image of x [B, H, W, C], and a one, the products of any two, summed over positions.

    Returns [B, 4 C + 1, 4 C + 1], float32.
    """
    looks = views(x)
    seen = jnp.concatenate([*looks, jnp.ones_like(looks[0][..., :1])], -1)  # whose products with the ones are their sums
    seen = seen.reshape(len(x), -1, seen.shape[-1])
    per_image = (((1,), (1,)), ((0,), (0,)))
    return lax.dot_general(seen, seen, per_image, precision=precision_of(x), preferred_element_type=jnp.float32)


def statistics_by_moments(products: jax.Array, count: int, kernel: jax.Array) -> tuple[jax.Array, jax.Array, Moments]:
    """The mean and biased variance [O] of images convolved with kernel [2, 2, C, O], in float32.

    Args:
      products: `view_products` of the images, summed over them, [4 C + 1, 4 C + 1].
      count: of positions in all images.

    Returns:
      mean, variance, and `moments_with` that convolution.
    """
    means = products / count
    average, weights = means[-1, :-1], kernel.reshape(-1, kernel.shape[-1]).astype(jnp.float32)
    covariance = _product(means[:-1, :-1] - jnp.outer(average, average), weights)
    return _product(average, weights), jnp.maximum((weights * covariance).sum(0), 0), (average, covariance)


def moments_with(x: jax.Array, y: jax.Array, mean: jax.Array) -> Moments:
    """How what a 2 x 2 kernel looks at in x [B, H, W, C] varies, alone and with the convolution y, whose mean is `mean` [O].

    Returns:
      the average [4 C] over all positions, and the covariance with y [4 C, O], both float32.
    """
    count = y.size // y.shape[-1]
    # A view leaves out the last or first row and column of an image. So do its sums, which are cheaper than one per view.
    columns = x.sum(1, dtype=jnp.float32)
    seen = [columns - x[:, row] for row in (-1, 0)]
    average = jnp.concatenate([side.sum((0, 1)) for rows in seen for side in (rows[:, :-1], rows[:, 1:])]) / count
    together = _convolve_for_kernel(x, y, dtype=jnp.float32).reshape(len(average), -1) / count
    return average, together - jnp.outer(average, mean)


def _kernel_gradient(x: jax.Array, y_grad: jax.Array, device: Device) -> jax.Array:
    """The gradient of a kernel [2, 2, C, O] for y_grad [B, H - 1, W - 1, O], in float32, and so summed over devices.

    cuDNN has no such convolution of bfloat16 with a result in float32; XLA would first make both arguments float32. So a GPU
    rounds its own sum, and a rule for the partitioner has it widened before it is added to those of the others.
    """
    if device == "tpu":
        return _convolve_for_kernel(x, y_grad, dtype=jnp.float32)
    return by_image(_widened, (x, y_grad), split=(True, True), summed=(True,))[0]


def _gradient_in_strips(x: jax.Array, kernel: jax.Array, grad: jax.Array, factor: jax.Array) -> jax.Array:
    """The gradient of `kernel` through x convolved, pooled and multiplied by `factor` [O], some rows of windows at a time.

    `grad` is that of the result, [B, h, w, O]. Keeping the convolution's result from the forward pass would take half of a
    step's memory, so each strip is convolved again. The barriers make a strip wait for the one before it, and for `grad`.
    """
    rows, total = grad.shape[1], jnp.zeros(kernel.shape, jnp.float32)
    strips = min(STRIPS, rows)
    for first, end in itertools.pairwise(rows * strip // strips for strip in range(strips + 1)):
        x, grad = lax.optimization_barrier((x, grad))
        seen = x[:, 2 * first : 2 * end + 1]
        pull = jax.vjp(plain_max_pool2x2, plain_conv2x2(seen, kernel))[1]
        at_y, x = lax.optimization_barrier((*pull((grad[:, first:end] * factor).astype(x.dtype)), x))
        total += _convolve_for_kernel(seen, at_y, dtype=jnp.float32)
    return total


def _convolve_for_kernel(x: jax.Array, y_grad: jax.Array, *, dtype: Any = None) -> jax.Array:
    layout = ("CHWN", "IHWO", "HWNC")
    return lax.conv_general_dilated(
        x, y_grad, (1, 1), "VALID", dimension_numbers=layout, precision=precision_of(x), preferred_element_type=dtype
    )


def _widened(x: jax.Array, y_grad: jax.Array) -> tuple[jax.Array]:
    return (_convolve_for_kernel(x, y_grad).astype(jnp.float32),)


def _is_narrow(x: jax.Array) -> bool:
    return x.shape[-1] < NARROW


def sign_of(scale: jax.Array) -> jax.Array:
    return jnp.where(scale < 0, -1.0, 1.0)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _pooled(y: jax.Array, device: Device) -> tuple[jax.Array, jax.Array | None]:
    """The largest value of each window of y [B, H, W, C] and, on a GPU, the place of the first of them."""
    if device == "tpu":  # whose compiler expects it to take 4/5 of the time of `reduce_window`
        return max_pool2x2_by_strides(y), None
    largest, places = norm.first_largest(norm.windows(y))
    return largest, places.astype(jnp.int8)


def _at_places(grad: jax.Array, places: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The gradient of each window [B, H // 2, W // 2, C] at its place, and zeros elsewhere: [B, H, W, C], which is `shape`."""
    batch, height, width, channels = grad.shape
    numbers = jnp.arange(4, dtype=places.dtype).reshape(2, 1, 2, 1)
    spread = jnp.where(places[:, :, None, :, None] == numbers, grad[:, :, None, :, None], 0)
    spread = spread.reshape(batch, 2 * height, 2 * width, channels)
    return jnp.pad(spread, ((0, 0), (0, shape[1] - 2 * height), (0, shape[2] - 2 * width), (0, 0)))
