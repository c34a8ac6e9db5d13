"""What a loss curve would not show of a step: which weights are averaged and how, and that no broken one passes unseen."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import ConfigError
from lfm_jax.models import Output, random_variables
from lfm_jax.runtime.rng import Stream, step_key
from lfm_jax.training import loop, optim
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.training.step import StepOptions, compiled_step, first_state, train_step


def tiny_config(**changes):
    config = config_lib.base()
    changes = {
        **{"steps": 6, "batch_size": 4, "model.widths": (4, 8, 8, 8), "model.maps": 4, "model.pooling.k": 4, "optim.lr": 1e-2},
        **{"data.source": "synthetic", "data.resize": 0, "data.crop": 48, "data.synthetic.side": 64, "data.synthetic.train": 8},
        **{"data.synthetic.val": 4, "eval.protocol": "native", "eval.test": False},
        **changes,
    }
    config.update_from_flattened_dict(changes)
    return config


def test_the_first_average_is_mostly_the_new_weights_and_keeps_no_more_of_the_old_than_the_config_says():
    """The share of the past would be 1/10 after the first step, were the decay not less."""
    decay = 0.05
    config = tiny_config(average_decay=decay)
    model = models.build(config.model)
    tx, _ = optim.build(config.optim, steps=6, steps_per_epoch=2, batch_size=4)
    variables = jax.tree.map(jnp.asarray, random_variables(model))
    before = jax.tree.map(np.asarray, variables["params"])
    state = jax.tree.map(jnp.asarray, first_state(config, tx, variables))
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    state, _ = compiled_step(config, model, tx, state)(state, {"image": images, "label": np.float32([0, 1, 0, 1])})
    for old, new, average in zip(*map(jax.tree.leaves, (before, state.params, state.average["params"])), strict=True):
        np.testing.assert_allclose(average, new + decay * (old - new), rtol=1e-5, atol=1e-7)
    moved = [np.abs(new - old).max() for old, new in zip(*map(jax.tree.leaves, (before, state.params)), strict=True)]
    assert max(moved) > 1e-3  # so that old and new are told apart


def test_a_step_with_a_broken_loss_stops_the_run_even_if_the_next_ones_are_sound(tmp_path, monkeypatch):
    """Only every sixth step is logged, and the loss is not finite in the third."""

    def breaking_once(*args):
        step = compiled_step(*args)

        def run(state, batch, **options):
            state, metrics = step(state, batch, **options)
            return state, metrics | {"loss": jnp.where(state.step == 3, jnp.nan, metrics["loss"])}

        return run

    monkeypatch.setattr(loop, "compiled_step", breaking_once)
    config = tiny_config(log_every_steps=6, **{"checkpoint.every_steps": 6, "eval.every_steps": 6})
    with pytest.raises(FloatingPointError, match=r"^step 3\b"):
        train_and_evaluate(config, tmp_path)
    assert not list(tmp_path.glob("checkpoints/*/*"))


def test_a_warm_up_as_long_as_the_run_is_refused():
    """It would never reach the learning rate of the config."""
    longest = tiny_config(**{"optim.warmup_steps": 5})
    optim.build(longest.optim, steps=6, steps_per_epoch=2, batch_size=4)
    with pytest.raises(ConfigError, match=r"config\.optim\.warmup_steps = 5 does not fit a run of 5 steps"):
        optim.build(longest.optim, steps=5, steps_per_epoch=2, batch_size=4)


class KeyRecorder:
    """A network of one weight that remembers the keys it was given."""

    def apply(self, variables, images, *, train, keys, mutable):
        self.keys = {name: jax.random.key_data(key).tolist() for name, key in keys.items()}
        logits = images.mean((1, 2, 3)) * variables["params"]["w"]
        return Output(logits, None, None, None), {"batch_stats": {}}


def test_each_regulariser_draws_from_its_own_stream_of_the_configs_seed_at_the_states_step():
    model, options = KeyRecorder(), StepOptions.from_config(tiny_config(seed=7))
    state = first_state(tiny_config(), optax.sgd(0.1), {"params": {"w": jnp.float32(1)}, "batch_stats": {}})
    batch = {"image": np.ones((2, 4, 4, 3), np.uint8), "label": np.float32([0, 1])}
    for step in (0, 3):
        train_step(replace(state, step=jnp.int32(step)), batch, model=model, tx=optax.sgd(0.1), options=options)
        streams = {"rank_dropout": Stream.RANK_DROPOUT, "random_k": Stream.RANDOM_K}
        assert model.keys == {name: jax.random.key_data(step_key(7, stream, step)).tolist() for name, stream in streams.items()}
