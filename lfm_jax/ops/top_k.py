"""Top-k that leaves every row on the device it is on.

XLA's partitioner splits a top-k on TPUs, but not on CPUs, where it would first gather all rows on every device (354 MB per
step at a batch of 1024). So CPU programs get a partitioning rule from here; the TPU compiler, in turn, does not know such
rules. On NVIDIA GPUs, XLA has a kernel for few values of long rows, and sorts shorter ones whole.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lfm_jax.ops.partitioned import by_image

LONG, FEW = 1024, 16  # from how many values per row on, and up to which K, XLA uses its kernel on a GPU


def top_k(rows: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The K largest values of each row of [B, M, N], in descending order; B or M may be split over devices.

    Gradients reach exactly the selected positions.

    Returns:
      values [B, M, K] and positions [B, M, K] int32; of equal values the one at the lower position comes first.
    """
    rows_only = lax.stop_gradient(rows)
    here, on_cuda, on_cpu = (functools.partial(form, k=k) for form in (_top_k, _top_k_of_long_rows, _top_k_rows))
    _, positions = lax.platform_dependent(rows_only, cpu=on_cpu, cuda=on_cuda, default=here)
    return jnp.take_along_axis(rows, positions, axis=-1, mode="promise_in_bounds"), positions


def _top_k(rows: jax.Array, *, k: int) -> tuple[jax.Array, jax.Array]:
    values, positions = lax.top_k(rows, k)
    return values, positions


def _top_k_of_long_rows(rows: jax.Array, *, k: int) -> tuple[jax.Array, jax.Array]:
    """`_top_k` of rows filled up with -inf, which is not chosen before any value of the row: equals come in their order.

    Rows whose length is not known yet, as in an exported program for images of any size, stay as they are.
    """
    length = rows.shape[-1]
    missing = LONG - length if isinstance(length, int) else 0
    if k <= FEW and 0 < missing <= LONG // 2:
        rows = jnp.pad(rows, ((0, 0), (0, 0), (0, missing)), constant_values=-jnp.inf)
    return _top_k(rows, k=k)


def _top_k_rows(rows: jax.Array, *, k: int) -> tuple[jax.Array, jax.Array]:
    values, positions = by_image(functools.partial(_top_k, k=k), (rows,), split=(True,), summed=(False, False), axes=2)
    return values, positions
