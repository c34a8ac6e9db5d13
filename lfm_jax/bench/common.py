"""Forwards `random_variables` until the tests have it from tests/helpers."""

from lfm_jax.bench.networks import random_variables

__all__ = ["random_variables"]
