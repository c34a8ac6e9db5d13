"""Computes a function of a batch a few images at a time, so that what it needs in between stays in the cache.

Each device loops over the images that lie on it. Left to itself, XLA's partitioner would gather a split batch on every
device, as it cannot know which images a loop will take.
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
    """function(*split, *whole), computed for at most `at_once` images at a time.

    Args:
      function: takes some images of `split` and all of `whole`, and returns arrays per image and sums over those images.
      split: arrays [B, ...].
      whole: arrays that every call gets whole.
      at_once: the most images per call; fewer are taken where the batch does not divide evenly.

    Returns:
      arrays [B, ...], and the sums over the whole batch.
    """
    per_image, sums = jax.eval_shape(function, *split, *whole)

    def loop(*args: jax.Array) -> Arrays:
        arrays, shared = args[: len(split)], args[len(split) :]
        batch = len(arrays[0])
        count = next(number for number in range(max(min(at_once, batch), 1), 0, -1) if batch % number == 0)
        if count == batch:
            return sum(function(*args), ())

        def add_piece(total: Arrays, piece: Arrays) -> tuple[Arrays, Arrays]:
            images, sums = function(*piece, *shared)
            return jax.tree.map(jnp.add, total, sums), images

        zeros = tuple(jnp.zeros(shape.shape, shape.dtype) for shape in sums)
        total, images = lax.scan(add_piece, zeros, tuple(array.reshape(-1, count, *array.shape[1:]) for array in arrays))
        return *(array.reshape(batch, *array.shape[2:]) for array in images), *total

    def partition(mesh: Mesh, args: Any, _results: Any) -> tuple[Any, ...]:
        axis = (*args[0].sharding.spec, None)[0]
        images, everywhere = NamedSharding(mesh, PartitionSpec(axis)), NamedSharding(mesh, PartitionSpec())

        def loop_here(*args: jax.Array) -> Arrays:
            results = loop(*args)
            total = (array if axis is None else lax.psum(array, axis) for array in results[len(per_image) :])
            return *results[: len(per_image)], *total

        takes = (images,) * len(split) + (everywhere,) * len(whole)
        return mesh, loop_here, (images,) * len(per_image) + (everywhere,) * len(sums), takes

    numbers = itertools.count()

    def axes(arrays: Any, *first: str) -> list[str]:
        return [" ".join((*first, *(f"d{next(numbers)}" for _ in array.shape[len(first) :]))) for array in arrays]

    takes, gives = axes(split, "b") + axes(whole), axes(per_image, "b") + axes(sums)
    partitioned = custom_partitioning(loop)
    partitioned.def_partition(
        partition=partition,
        sharding_rule=f"{', '.join(takes)} -> {', '.join(gives)}",
        need_replication_factors=tuple(f"d{number}" for number in range(next(numbers))),  # all axes but the batch
    )
    results = tuple(partitioned(*split, *whole))
    return results[: len(per_image)], results[len(per_image) :]
