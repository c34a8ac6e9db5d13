"""What a command computes on: said in its first line, so that nobody trains on a CPU unawares."""

import os
from collections.abc import Sequence

import jax

from lfm_jax.errors import UserError, first_line
from lfm_jax.runtime.progress import say

ACCELERATORS = ("gpu", "tpu")


def say_devices(verb: str, *, require: str | None = None) -> None:
    """Say how many devices of which platform and kind all processes have together.

    Raises:
      UserError: jax has no devices of the platform that JAX_PLATFORMS asks for, or they are not of the one in `require`.
    """
    found = devices()
    if require and found[0].platform != require:
        raise UserError(
            f"--require={require}: jax sees {counted(found)} here. Install jax for your {require.upper()} "
            f"(pip install 'jax[{'cuda12' if require == 'gpu' else require}]'), or leave --require out"
        )
    say(f"{verb}: computing on {counted(found)}")


def devices() -> Sequence[jax.Device]:
    """The devices of all processes. Raises UserError where jax cannot use the platform that JAX_PLATFORMS names."""
    try:
        return jax.devices()
    except (AssertionError, RuntimeError) as error:  # an AssertionError, without a word, for cuda on a machine without one
        wanted = os.environ.get("JAX_PLATFORMS", "")
        words = first_line(error).partition(" (set JAX_PLATFORMS")[0]
        reason = f" ({words})" if str(error) else ""
        raise UserError(
            f"JAX_PLATFORMS={wanted}: jax has no such device here{reason}: unset it to compute on what there is, or install jax "
            "for that device"
        ) from None


def counted(found: Sequence[jax.Device]) -> str:
    """Words for some devices, e.g. "8 gpu devices (NVIDIA H200)"."""
    platform, kind = found[0].platform, found[0].device_kind
    called = "" if kind.lower() == platform else f" ({kind})"
    return f"{len(found)} {platform} {'device' if len(found) == 1 else 'devices'}{called}"
