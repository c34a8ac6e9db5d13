"""The stem as matrix products for CPUs: what `ops.stem_kernels` computes, by the same two functions, a few images at a time.

A window's sums are many more values than it sees. An image at a time they stay in the cache, where they are routed or their
largest is taken; of a whole batch they would go to memory and back, into pages that the system has to clear first.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lfm_jax.ops import norm
from lfm_jax.ops.conv import precision_of
from lfm_jax.ops.npr import Residual
from lfm_jax.ops.pieces import VALUES_AT_ONCE, in_pieces
from lfm_jax.ops.windows import window_values_by_strides


def pooled(
    images: jax.Array, weights: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array, *, signed: bool
) -> jax.Array:
    """As `ops.stem_kernels.pooled`, for any number of outputs O."""

    def piece(images: jax.Array, weights: jax.Array, *normed: jax.Array) -> tuple[tuple[jax.Array, ...], tuple[()]]:
        sums = _sums(_values(images, signed).astype(weights.dtype), weights)
        return (norm.finish(functools.reduce(jnp.maximum, sums), *normed).astype(weights.dtype),), ()

    ((result,), _) = in_pieces(piece, (images,), (weights, mean, factor, bias), at_once=_images_at_once(images, weights))
    return result


def weights_gradient(
    images: jax.Array,
    weights: jax.Array,
    mean: jax.Array,
    factor: jax.Array,
    bias: jax.Array,
    grad: jax.Array,
    *,
    signed: bool,
) -> jax.Array:
    """As `ops.stem_kernels.weights_gradient`. The products are taken in float32, in which routing is done and far faster."""

    def piece(images: jax.Array, grad: jax.Array, weights: jax.Array, *normed: jax.Array) -> tuple[tuple[()], tuple[jax.Array]]:
        values = _values(images, signed)
        largest, strongest = norm.first_largest(_sums(values.astype(weights.dtype), weights))
        is_open = norm.finish(largest, *normed) > 0
        arriving = jnp.where(is_open, grad.astype(jnp.float32), 0)
        seen = jnp.concatenate([values, jnp.ones_like(values[..., :1])], -1)
        products = [_summed_product(seen, jnp.where(strongest == number, arriving, 0)) for number in range(4)]
        return (), (jnp.stack(products),)

    at_once = _images_at_once(images, weights)
    (_, (result,)) = in_pieces(piece, (images, grad), (weights, mean, factor, bias), at_once=at_once)
    return result


def _values(images: jax.Array, signed: bool) -> jax.Array:
    return window_values_by_strides(images, Residual("signed" if signed else "abs"), jnp.float32)


def _sums(values: jax.Array, weights: jax.Array) -> list[jax.Array]:
    """The four sums of each window, float32 [B, h, w, O], for values [B, h, w, 15] and weights [4, 16, O]."""
    number, _, outputs = weights.shape
    together = weights[:, :-1].transpose(1, 0, 2).reshape(-1, number * outputs)
    product = jnp.matmul(values, together, precision=precision_of(values), preferred_element_type=jnp.float32)
    return jnp.split(product, number, axis=-1)


def _summed_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a [B, h, w, V], b [B, h, w, O] -> [V, O]"""
    flat_a, flat_b = (array.reshape(-1, array.shape[-1]) for array in (a, b))
    return lax.dot_general(flat_a, flat_b, (((0,), (0,)), ((), ())), precision=precision_of(a))


def _images_at_once(images: jax.Array, weights: jax.Array) -> int:
    return VALUES_AT_ONCE // (images.shape[1] * images.shape[2] * weights.shape[-1])
