"""Functions of a batch that each device computes for the images that lie on it.

Left to itself, XLA's partitioner would gather a split batch on every device wherever it does not know what a program does with
its images: in a loop over them, a kernel, or (on CPUs) a top-k. A rule tells it.

jax keeps compiled programs by their text, and what has such a rule is only an address in it, another one in every process. So
jax is told to leave addresses out (`runtime.program_cache`), and a number that nothing reads takes their place. It changes
with the function and with the code of this folder.
"""

import functools
import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Arrays = tuple[jax.Array, ...]
ADDRESS = re.compile(r"0x[0-9a-f]+")


def by_image(
    function: Callable[..., Arrays],
    args: Sequence[jax.Array],
    *,
    split: Sequence[bool],
    summed: Sequence[bool],
    axes: int = 1,
    told_apart: Any = None,
) -> Arrays:
    """function(*args), which each device computes for its images.

    Args:
      function: takes some images, and all of what is not split, and returns arrays per image and sums over those images. It
        may close over numbers, not over arrays.
      split: for each argument, whether its first axis is the batch; others are whole on every device. The first one is split.
      summed: for each result, whether it is a sum over images.
      axes: how many of the first axes may be split; more than one only without sums.
      told_apart: what decides, beside what the function does with all of the batch, what it does with fewer images.
    """
    program, results = jax.make_jaxpr(function, return_shape=True)(*args)
    identity = zlib.crc32(ADDRESS.sub("", f"{program} {told_apart}").encode(), _code())

    def here(_: jax.Array, *args: jax.Array) -> Arrays:
        return function(*args)

    def partition(mesh: Mesh, shapes: Any, _results: Any) -> tuple[Any, ...]:
        names = (*shapes[1].sharding.spec, *[None] * axes)[:axes]
        images, everywhere = NamedSharding(mesh, PartitionSpec(*names)), NamedSharding(mesh, PartitionSpec())

        def on_each(*args: jax.Array) -> Arrays:
            values = zip(here(*args), summed, strict=True)
            return tuple(lax.psum(value, names[0]) if is_sum and names[0] else value for value, is_sum in values)

        gives = tuple(everywhere if is_sum else images for is_sum in summed)
        return mesh, on_each, gives, (everywhere, *(images if is_split else everywhere for is_split in split))

    numbers = itertools.count()

    def rule(arrays: Any, split: Sequence[bool]) -> str:
        batch = [f"b{axis}" for axis in range(axes)]
        first = [batch if is_split else [] for is_split in split]
        named = zip(arrays, first, strict=True)
        return ", ".join(" ".join((*begin, *(f"d{next(numbers)}" for _ in array.shape[len(begin) :]))) for array, begin in named)

    number = jnp.full(1, np.uint32(identity))
    takes, gives = rule((number, *args), (False, *split)), rule(results, [not is_sum for is_sum in summed])
    partitioned = custom_partitioning(here)
    partitioned.def_partition(
        partition=partition,
        sharding_rule=f"{takes} -> {gives}",
        need_replication_factors=tuple(f"d{number}" for number in range(next(numbers))),  # all axes but those of the batch
    )
    return tuple(partitioned(number, *args))


@functools.cache
def _code() -> int:
    """A number for the code that such functions are made of."""
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
