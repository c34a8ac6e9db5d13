"""A few images at a time, on one device and where a batch is split over several."""

import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax.ops.pieces import in_pieces

ON_FOUR_DEVICES = """
import jax
import jax.numpy as jnp
import numpy as np
from lfm_jax.runtime import sharding
from lfm_jax.ops.pieces import in_pieces

assert jax.device_count() == 4

@jax.jit
def step(x, weights):
    (rows,), (total,) = in_pieces(lambda x, weights: ((x @ weights,), ((x.T @ x),)), (x,), (weights,), at_once=2)
    return rows, total

x, weights = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((24, 5), (5, 3)))
devices = sharding.data_mesh()
args = jax.device_put(x, sharding.split_batch(devices)), jax.device_put(weights, sharding.replicated(devices))
rows, total = step(*args)
np.testing.assert_allclose(rows, x @ weights, rtol=1e-5, atol=1e-5)
np.testing.assert_allclose(total, x.T @ x, rtol=1e-5, atol=1e-5)
assert {shard.data.shape for shard in rows.addressable_shards} == {(6, 3)}
program = step.lower(*args).compile().as_text()
assert "while" in program and "all-reduce" in program and "all-gather" not in program
"""


@pytest.mark.parametrize("at_once", [0, 1, 4, 5, 6, 100])
def test_pieces_give_what_the_batch_gives(at_once):
    x, weights = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((6, 5), (5, 3)))
    sizes = []

    def function(x, weights):
        sizes.append(len(x))
        return (x @ weights, -x), (jnp.square(x).sum(0),)

    (rows, negative), (total,) = in_pieces(function, (x,), (weights,), at_once=at_once)
    np.testing.assert_allclose(rows, x @ weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(negative, -x)
    np.testing.assert_allclose(total, np.square(x).sum(0), rtol=1e-5)
    assert sizes[-1] == {0: 1, 1: 1, 4: 3, 5: 3, 6: 6, 100: 6}[at_once]  # of equal size, and no larger than asked for


def test_a_split_batch_stays_where_it_is():
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    ran = subprocess.run([sys.executable, "-c", ON_FOUR_DEVICES], env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
