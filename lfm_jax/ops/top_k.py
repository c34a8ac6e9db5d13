"""Top-k that leaves every row on the device it is on.

In: rows [B, M, N], B or M split over devices. Out: the K largest of each. XLA's own partitioner splits a
top-k for TPUs, but none for CPUs, where it would first gather all rows on every device (354 MB a step at a
batch of 1024). So CPU programs get a rule of ours; the TPU's compiler, in turn, knows no such rules.
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
    rows_only = lax.stop_gradient(rows)
    _, positions = lax.platform_dependent(rows_only, cpu=lambda x: _top_k_rows(x, k), default=lambda x: tuple(lax.top_k(x, k)))
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
