"""A program that is kept serves other processes, and never another function of the same shapes."""

import os
import subprocess
import sys

from lfm_jax.runtime.program_cache import WITHOUT_ADDRESSES

TWO_FUNCTIONS = """
import jax
import numpy as np
from lfm_jax.ops.partitioned import by_image
from lfm_jax.runtime import sharding

x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
split = jax.device_put(x, sharding.split_batch(sharding.data_mesh()))
assert jax.device_count() == 4

for power in (2, 3):
    @jax.jit
    def powers(x):
        return by_image(lambda x: (x**power, (x**power).sum(0)), (x,), split=(True,), summed=(False, True))

    rows, total = powers(split)
    np.testing.assert_allclose(rows, x**power, rtol=1e-5)
    np.testing.assert_allclose(total, (x**power).sum(0), rtol=1e-5)
    assert {shard.data.shape for shard in rows.addressable_shards} == {(2, 3)}
"""


def test_functions_are_told_apart_and_found_again(tmp_path):
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4", "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", WITHOUT_ADDRESSES: "true", "JAX_EXPLAIN_CACHE_MISSES": "true"}
    for compiled in (2, 0):
        ran = subprocess.run([sys.executable, "-c", TWO_FUNCTIONS], env=env, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.count("PERSISTENT COMPILATION CACHE MISS for 'jit_powers'") == compiled
