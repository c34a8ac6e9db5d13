"""The settings of jax that decide what a program computes: ours, whatever the user's environment or notebook says.

The networks are float32 and their draws are a function of the seed. Under JAX_ENABLE_X64=1 and its like some programs would
not compile, and others would draw other numbers for the same seed.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

OURS = {
    "JAX_ENABLE_X64": "0",
    "JAX_NUMPY_RANK_PROMOTION": "allow",
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": "1",
    "JAX_RANDOM_SEED_OFFSET": "0",
    "JAX_TRANSFER_GUARD": "allow",
}


def settle(env: MutableMapping[str, str]) -> None:
    """Give those of jax's variables that `env` sets our values; to be called before jax is loaded."""
    env.update({name: value for name, value in OURS.items() if name in env})


@contextmanager
def settled() -> Iterator[None]:
    """Our settings for this thread, for a part of a program that has settings of its own; also a decorator."""
    import jax

    with (
        jax.enable_x64(False),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        jax.threefry_partitionable(True),
    ):
        yield
