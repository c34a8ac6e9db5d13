"""The stem as two kernels for NVIDIA GPUs, from uint8 pixels to pooled activations and back to the gradient of the first kernel.

Each program takes some windows of 2 x 2 sums of one row of an image. It looks up the pixels that they see, takes their
residuals, and multiplies them by the weights of all four sums. Neither residuals nor unpooled sums ever reach memory.
`ops.windows` says what a window sees, `ops.stem` where this form is used. Written in Pallas for Triton, so that `interpret`
runs both anywhere.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from lfm_jax.ops.conv import precision_of
from lfm_jax.ops.norm import first_largest

VALUES = 16  # that a window's sums are made of: five pixels of three channels, and a one
WINDOWS = 64  # that a program takes at once
PROGRAMS = 528  # of the gradient; each adds up its share of all windows


@functools.cache
def can_be_lowered() -> bool:
    """Whether this jax makes such kernels here. 0.12 does for GPUs that are there and that it knows, and will stop one day."""
    shapes = ((1, 8, 8, 3), jnp.uint8), ((4, VALUES, 16), jnp.bfloat16), *[((16,), jnp.float32)] * 3
    given = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    try:
        jax.jit(pooled).trace(*given).lower(lowering_platforms=("cuda",))
    except Exception:  # each version has its own; the plain form does as well
        return False
    return True


def pooled(
    images: jax.Array,
    weights: jax.Array,
    mean: jax.Array,
    factor: jax.Array,
    bias: jax.Array,
    *,
    signed: bool = False,
    interpret: bool = False,
) -> jax.Array:
    """ReLU((the largest sum of each window - mean) * factor + bias).

    Args:
      images: uint8 [B, H, W, 3] of even sides.
      weights: [4, VALUES, O] of each sum of a window; O is a power of two from 16 on.
      mean, factor, bias: [O] float32.
      signed: keep the sign of residuals.
      interpret: run it without a GPU.

    Returns:
      [B, H // 2 - 1, W // 2 - 1, O] of the dtype of the weights.
    """
    batch, height, width, _ = images.shape
    rows, columns = height // 2 - 1, width // 2 - 1
    kernel = functools.partial(_pool, columns=columns, signed=signed)
    shape = jax.ShapeDtypeStruct((batch, rows, columns, weights.shape[-1]), weights.dtype)
    result: jax.Array = _call(kernel, (pl.cdiv(columns, WINDOWS), rows, batch), 5, shape, interpret, warps=4)(
        images, weights, mean, factor, bias
    )
    return result


def weights_gradient(
    images: jax.Array,
    weights: jax.Array,
    mean: jax.Array,
    factor: jax.Array,
    bias: jax.Array,
    grad: jax.Array,
    *,
    signed: bool = False,
    interpret: bool = False,
) -> jax.Array:
    """For each sum of a window, its values times the gradient that ReLU lets through to it: [4, VALUES, O] float32.

    `grad` is the gradient of what `pooled` returns for the same arguments. That of a window goes to its first largest sum. The
    last value is one, so that its products add up the gradients themselves.
    """
    batch, rows, columns, outputs = grad.shape
    tiles = batch * rows * pl.cdiv(columns, WINDOWS)
    programs = min(PROGRAMS, tiles)
    kernel = functools.partial(_add_up, tiles=tiles, programs=programs, rows=rows, columns=columns, signed=signed)
    shape = jax.ShapeDtypeStruct((programs, 4, VALUES, outputs), jnp.float32)
    shares: jax.Array = _call(kernel, (programs,), 6, shape, interpret, warps=8)(images, weights, mean, factor, bias, grad)
    return shares.sum(0)


def _call(kernel: Any, grid: tuple[int, ...], inputs: int, shape: jax.ShapeDtypeStruct, interpret: bool, *, warps: int) -> Any:
    """Arrays stay where they are; the kernel itself says what it reads of them."""
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=[pl.no_block_spec] * inputs,
        out_specs=pl.no_block_spec,
        out_shape=shape,
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=warps, num_stages=1),
    )


def _pool(images: Any, weights: Any, mean: Any, factor: Any, bias: Any, result: Any, *, columns: int, signed: bool) -> None:
    first, row, image = pl.program_id(0) * WINDOWS, pl.program_id(1), pl.program_id(2)
    values = _values(images, image, row, first, columns, weights.dtype, signed)
    largest = functools.reduce(jnp.maximum, _sums(values, weights))
    place, channel = _places(largest.shape, first)
    activations = jnp.maximum(_normed(largest, mean, factor, bias), 0).astype(result.dtype)
    triton.store(result.at[image, row, place, channel], activations, mask=place < columns)


def _add_up(
    images: Any,
    weights: Any,
    mean: Any,
    factor: Any,
    bias: Any,
    grad: Any,
    result: Any,
    *,
    tiles: int,
    programs: int,
    rows: int,
    columns: int,
    signed: bool,
) -> None:
    program, across, outputs = pl.program_id(0), pl.cdiv(columns, WINDOWS), weights.shape[-1]

    def add_tile(number: jax.Array, totals: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        tile = program + number * programs
        first, row, image = tile % across * WINDOWS, tile // across % rows, tile // across // rows
        values = _values(images, image, row, first, columns, weights.dtype, signed)
        largest, strongest = first_largest(_sums(values, weights))
        is_open = _normed(largest, mean, factor, bias) > 0
        place, channel = _places(is_open.shape, first)
        arriving = triton.load(grad.at[image, row, place, channel], mask=place < columns, other=0).astype(jnp.float32)
        arriving = jnp.where(is_open, arriving, 0)
        to_each = [jnp.where(strongest == number, arriving, 0).astype(values.dtype) for number in range(4)]
        return tuple(total + _product(values.T, part) for total, part in zip(totals, to_each, strict=True))

    zeros = (jnp.zeros((VALUES, outputs), jnp.float32),) * 4
    totals = lax.fori_loop(0, (tiles - program + programs - 1) // programs, add_tile, zeros)
    for number, total in enumerate(totals):
        result[program, number] = total


def _values(images: Any, image: Any, row: Any, first: Any, columns: int, dtype: Any, signed: bool) -> jax.Array:
    """The residuals that WINDOWS windows see, from number `first` of a row on, and a one: [WINDOWS, VALUES].

    The order is that of `ops.windows.SEEN`, and by channel within a pixel.
    """
    shape = (WINDOWS, VALUES)
    value, place = lax.broadcasted_iota(jnp.int32, shape, 1), lax.broadcasted_iota(jnp.int32, shape, 0) + first
    pixel, channel = value // 3, value % 3
    down = jnp.where(pixel == 0, 0, jnp.where(pixel == 4, 2, 1))
    right = jnp.where((pixel == 0) | (pixel == 4), 1, pixel - 1)
    inside = (place < columns) & (value < VALUES - 1)

    def look(y: jax.Array, x: jax.Array) -> jax.Array:
        found: jax.Array = triton.load(images.at[image, y, x, channel], mask=inside, other=0)
        return found.astype(jnp.int32)

    y, x = 2 * row + down, 2 * place + right
    difference = look(y, x) - look(y // 2 * 2, x // 2 * 2)
    residuals = difference if signed else jnp.abs(difference)
    return jnp.where(value == VALUES - 1, 1, residuals).astype(jnp.float32).astype(dtype)


def _sums(values: jax.Array, weights: Any) -> list[jax.Array]:
    """The four sums of each window, row by row, each [WINDOWS, O] float32."""
    return [_product(values, weights[number]) for number in range(4)]


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, precision=precision_of(a), preferred_element_type=jnp.float32)


def _normed(sums: jax.Array, mean: Any, factor: Any, bias: Any) -> jax.Array:
    return (sums - mean[...][None]) * factor[...][None] + bias[...][None]


def _places(shape: tuple[int, ...], first: Any) -> tuple[jax.Array, jax.Array]:
    return lax.broadcasted_iota(jnp.int32, shape, 0) + first, lax.broadcasted_iota(jnp.int32, shape, 1)
