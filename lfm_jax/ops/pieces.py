"""A function of a batch computed a few images at a time, so that what it needs in between stays in the cache.

In: arrays [B, ...]. Out: arrays [B, ...] and sums over the batch. Each device loops over the images that lie on it:
left to itself XLA's partitioner would gather a split batch on every device, as it cannot know what a loop will take.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Arrays = tuple[jax.Array, ...]


def in_pieces(
    function: Callable[..., tuple[Arrays, Arrays]], split: Arrays, whole: Arrays, *, at_once: int
) -> tuple[Arrays, Arrays]:
    """function(*split, *whole) -> (arrays [B, ...], sums over the batch), of at most `at_once` images of `split` at a time."""
    each, sums = jax.eval_shape(function, *split, *whole)

    def loop(*args: jax.Array) -> Arrays:
        own, shared = args[: len(split)], args[len(split) :]
        batch = len(own[0])
        count = next(number for number in range(max(min(at_once, batch), 1), 0, -1) if batch % number == 0)
        if count == batch:
            return sum(function(*args), ())

        def one(so_far: Arrays, piece: Arrays) -> tuple[Arrays, Arrays]:
            images, more = function(*piece, *shared)
            return jax.tree.map(jnp.add, so_far, more), images

        zeros = tuple(jnp.zeros(shape.shape, shape.dtype) for shape in sums)
        total, images = lax.scan(one, zeros, tuple(array.reshape(-1, count, *array.shape[1:]) for array in own))
        return *(array.reshape(batch, *array.shape[2:]) for array in images), *total

    def partition(mesh: Mesh, args: Any, _results: Any) -> tuple[Any, ...]:
        axis = (*args[0].sharding.spec, None)[0]
        images, everywhere = NamedSharding(mesh, PartitionSpec(axis)), NamedSharding(mesh, PartitionSpec())

        def loop_here(*args: jax.Array) -> Arrays:
            found = loop(*args)
            total = (array if axis is None else lax.psum(array, axis) for array in found[len(each) :])
            return *found[: len(each)], *total

        takes = (images,) * len(split) + (everywhere,) * len(whole)
        return mesh, loop_here, (images,) * len(each) + (everywhere,) * len(sums), takes

    numbers = itertools.count()

    def axes(arrays: Any, *first: str) -> list[str]:
        return [" ".join((*first, *(f"d{next(numbers)}" for _ in array.shape[len(first) :]))) for array in arrays]

    takes, gives = axes(split, "b") + axes(whole), axes(each, "b") + axes(sums)
    partitioned = custom_partitioning(loop)
    partitioned.def_partition(
        partition=partition,
        sharding_rule=f"{', '.join(takes)} -> {', '.join(gives)}",
        need_replication_factors=tuple(f"d{number}" for number in range(next(numbers))),  # all axes but the batch
    )
    found = tuple(partitioned(*split, *whole))
    return found[: len(each)], found[len(each) :]
