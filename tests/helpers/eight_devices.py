"""Trains the small run on eight devices, and checks what can only be seen in that process. Arguments: DATA OUT.

OUT/replicated has a run with the state on every device, OUT/sharded one that splits it and resumes with it replicated.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from lfm_jax.ops.pooling import random_k_pool, rank_dropout
from lfm_jax.runtime import sharding
from lfm_jax.training import loop
from tests.helpers.training import small_config, without_pictures


def check_that_draws_are_those_of_one_device():
    @jax.jit
    def draw(maps):
        key = jax.random.key(1)
        return random_k_pool(maps, k=4, key=key), rank_dropout(maps[:, 0], key=key)

    maps = np.random.default_rng(0).normal(size=(16, 6, 6, 4)).astype(np.float32)
    on_eight = jax.device_put(maps, sharding.split_batch(sharding.data_mesh()))
    assert jax.tree.all(jax.tree.map(np.array_equal, draw(on_eight), draw(maps)))


def check_that_the_state_is_split(state):
    split = [leaf for leaf in jax.tree.leaves(state.params) if not leaf.is_fully_replicated]
    assert {leaf.addressable_shards[0].data.size * 8 == leaf.size for leaf in split} == {True}


def main(root, out):
    assert jax.device_count() == 8
    check_that_draws_are_those_of_one_device()
    untested = {"eval.test": False}  # test_devices does that on as many
    loop.train_and_evaluate(small_config(root, **untested), out / "replicated")
    fit = loop.fit

    def check_and_fit(run, state, *others):
        check_that_the_state_is_split(state)
        return fit(run, state, *others)

    loop.fit = check_and_fit
    loop.train_and_evaluate(small_config(root, steps=4, shard_state=True, **untested), out / "sharded")
    loop.fit = fit
    loop.train_and_evaluate(small_config(root, **untested), out / "sharded")


if __name__ == "__main__":
    with without_pictures():
        main(sys.argv[1], Path(sys.argv[2]))
