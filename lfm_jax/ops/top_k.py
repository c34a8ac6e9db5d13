"""Top-k that leaves every row on the device it is on.

XLA's partitioner splits a top-k on TPUs, but not on CPUs, where it would first gather all rows on every device (354 MB per
step at a batch of 1024). So CPU programs get a partitioning rule from here; the TPU compiler, in turn, does not know such
rules.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def top_k(rows: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The K largest values of each row of [B, M, N], in descending order; B or M may be split over devices.

    Gradients reach exactly the selected positions.

    Returns:
      values [B, M, K] and positions [B, M, K] int32; of equal values the one at the lower position comes first.
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
