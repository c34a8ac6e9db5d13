"""Runs here what a function does on another platform."""

import jax
from jax import export


def as_on(platform, function):
    """`function`, as it is compiled for `platform` ("cpu", "cuda" or "tpu"), to be run on this machine.

    Operations choose their form when a program is lowered, so the form for a TPU can be tested on a CPU.
    """
    if platform == "cpu":
        return jax.jit(function)
    anywhere = [export.DisabledSafetyCheck.platform()]
    return lambda *args: export.export(jax.jit(function), platforms=[platform], disabled_checks=anywhere)(*args).call(*args)


def lowered_text(platform, function, *args):
    """The program of `function` for `platform`, as text."""
    return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()
