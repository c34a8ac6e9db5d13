"""Every random draw is a function of (seed, stream, step), derived where it is needed and never stored.

Draws on the device use threefry keys; draws on the host (order of examples, augmentation) use numpy's Philox. Neither
depends on the number of devices, processes or threads, so a run resumes exactly on any number of them.
"""

from enum import IntEnum

import jax
import numpy as np


class Stream(IntEnum):
    """One number per use. Never reuse or renumber them: old runs would draw differently."""

    INIT = 0
    RANK_DROPOUT = 1
    RANDOM_K = 2
    AUGMENT = 3
    SHUFFLE = 4
    SECOND_VIEW = 5
    BALANCE = 6
    ALIGN = 7
    PAIR = 8
    FIT_DECODER = 9
    CAMERA = 10


def step_key(seed: int, stream: Stream, step: int | jax.Array = 0) -> jax.Array:
    """The threefry key fold_in(fold_in(root(seed), stream), step)."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), int(stream)), step)


def host_rng(seed: int, stream: Stream, position: int) -> np.random.Generator:
    """A numpy generator for one (seed, stream, position), independent of all others."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, int(stream), position))))
