"""The state that a run starts from."""

import functools

import jax
import numpy as np
import pytest

from lfm_jax import config as config_lib
from lfm_jax.training import run as run_lib
from lfm_jax.weights.checkpoint import Checkpoints


@pytest.mark.optimised
def test_a_fresh_state_has_the_same_bits_whichever_way_it_is_compiled(tmp_path):
    config = config_lib.base()
    config.steps, config.batch_size = 1, 2
    config.data.source, config.data.resize, config.data.crop = "synthetic", 0, 48
    config.data.synthetic.update({"side": 48, "train": 4, "val": 4, "test": 4})
    run = run_lib.set_up(config, tmp_path)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        quick = run_lib.starting_state(run, checkpoints)
    plain = jax.jit(functools.partial(run_lib.fresh_state, config, run.model, run.tx))()
    assert jax.tree.structure(quick) == jax.tree.structure(plain)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(jax.tree.leaves(quick), jax.tree.leaves(plain), strict=True))
    assert np.ptp(quick.params["backbone"]["block1"]["kernel"]) > 0
