"""The machine that figures are taken on: its name, and the most it can do, measured rather than looked up."""

import functools
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def describe() -> dict[str, Any]:
    """CPU, number of cores, devices and versions."""
    device = jax.devices()[0]
    versions = {name: _version(name) for name in ("lfm_jax", "jax", "jaxlib", "torch")}
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": device.device_kind if device.platform != "cpu" else "cpu",
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "versions": {name: installed for name, installed in versions.items() if installed},
    }


@functools.cache
def peak_flops(dtype: str) -> float:
    """The arithmetic limit that can be reached here: FLOP/s of a large matrix product in `dtype`, the best of several."""
    side = 1024 if jax.default_backend() == "cpu" else 8192
    factor = jax.random.normal(jax.random.key(0), (side, side), dtype)
    precision = jax.lax.Precision.HIGHEST if dtype == "float32" else None
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=precision))
    return 2 * side**3 / _fastest(lambda: product(factor))


def bandwidth() -> float:
    """The memory limit that can be reached here: bytes per second of adding one to a large array, read and written once."""
    values = jnp.zeros((1 << 26 if jax.default_backend() == "cpu" else 1 << 29,), jnp.float32)
    plus_one = jax.jit(lambda a: a + 1, donate_argnums=0)  # in place: fresh memory would cost more than the traffic

    def once() -> jax.Array:
        nonlocal values
        values = plus_one(values)
        return values

    return 2 * values.nbytes / _fastest(once)


def _fastest(function: Callable[[], jax.Array], rounds: int = 5) -> float:
    jax.block_until_ready(function())
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return float(np.min(seconds))


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
