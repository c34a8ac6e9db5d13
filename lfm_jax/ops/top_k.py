"""Top-k that leaves every row on the device it is on.

In: rows [..., N], any of the axes but the last split over devices. Out: the K largest of each. XLA's
own partitioner knows no way to split a top-k on CPU and would first gather all rows on every device
(354 MB a step at a batch of 1024).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def top_k(rows: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """rows [B, M, N] -> values [B, M, K] descending, positions [B, M, K] int32; equal values in position order.

    Gradients reach exactly the selected positions.
    """
    _, positions = _top_k_rows(lax.stop_gradient(rows), k)
    return jnp.take_along_axis(rows, positions, axis=-1, mode="promise_in_bounds"), positions


@functools.partial(custom_partitioning, static_argnums=(1,))
def _top_k_rows(rows: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    values, positions = lax.top_k(rows, k)
    return values, positions


def _partition(k: int, mesh: Mesh, args: Any, _results: Any) -> tuple[Any, ...]:
    axes = (*args[0].sharding.spec, None, None)[:2]
    whole_rows = NamedSharding(mesh, PartitionSpec(*axes, None))
    return mesh, lambda rows: tuple(lax.top_k(rows, k)), (whole_rows, whole_rows), (whole_rows,)


_top_k_rows.def_partition(partition=_partition, sharding_rule="b m n -> b m k, b m k", need_replication_factors=("n", "k"))
