"""Computes a function of a batch a few images at a time, so that what it needs in between stays in the cache.

Each device loops over the images that lie on it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lfm_jax.ops.partitioned import by_image

VALUES_AT_ONCE = 1 << 22  # of the largest array in between: 16 MB in float32, about half of a last-level cache

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

    results = by_image(
        loop,
        (*split, *whole),
        split=(True,) * len(split) + (False,) * len(whole),
        summed=(False,) * len(per_image) + (True,) * len(sums),
        told_apart=at_once,
    )
    return results[: len(per_image)], results[len(per_image) :]
