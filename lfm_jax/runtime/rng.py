"""Every random draw as a function of (seed, stream, step): derived where it is needed, never stored.

Device draws use threefry keys, host draws (order of examples, augmentation) numpy's Philox. Neither
depends on the number of devices, processes or threads, so a run resumes and re-shards exactly.
"""

from enum import IntEnum

import jax
import numpy as np


class Stream(IntEnum):
    """One number per use; never reuse or renumber, old runs would draw differently."""

    INIT = 0
    RANK_DROPOUT = 1
    RANDOM_K = 2
    AUGMENT = 3
    SHUFFLE = 4
    SECOND_VIEW = 5


def step_key(seed: int, stream: Stream, step: int | jax.Array = 0) -> jax.Array:
    """fold_in(fold_in(root(seed), stream), step), a threefry key."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), int(stream)), step)


def host_rng(seed: int, stream: Stream, position: int) -> np.random.Generator:
    """numpy generator of its own for one (seed, stream, position)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, int(stream), position))))
