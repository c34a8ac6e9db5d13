"""A single training step: frozen, in parts, rematerialised, and what it draws."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from tests.helpers.training import SmallStep, small_config


@pytest.fixture(scope="module")
def step():
    return SmallStep(small_config(""))


@pytest.fixture(scope="module")
def step_without_draws():
    """Frozen, it draws nothing at all: no rank dropout, and no random-k branch."""
    return SmallStep(small_config("", **{"model.random_k.aux_weight": 0.0}))


def test_a_frozen_step_keeps_the_statistics_and_drops_nothing(step, step_without_draws):
    before, (after, metrics) = step_without_draws.state, step_without_draws(frozen=True)
    assert jax.tree.all(jax.tree.map(np.array_equal, before.batch_stats, after.batch_stats))
    without_dropout = SmallStep(small_config("", **{"model.random_k.aux_weight": 0.0, "model.rank_dropout.p_max": 0.0}))
    assert float(without_dropout(frozen=True)[1]["loss"]) == float(metrics["loss"])
    assert int(step()[0].batch_stats["backbone"]["block1"]["norm"]["count"]) == 1


def test_parts_of_a_batch_add_up_to_the_whole_where_nothing_is_drawn_and_batchnorm_is_frozen(step_without_draws):
    """Then the mean of the parts' gradients is the gradient of the batch."""
    whole, metrics = step_without_draws(frozen=True)
    parts = {name: array.reshape(2, 2, *array.shape[1:]) for name, array in step_without_draws.batch.items()}
    in_parts, part_metrics = step_without_draws(parts, frozen=True)
    assert float(part_metrics["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-6)
    for ours, theirs in zip(jax.tree.leaves(in_parts.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_each_part_draws_anew(step):
    once = {name: array[None] for name, array in step.batch.items()}
    twice = {name: np.stack([array, array]) for name, array in step.batch.items()}
    assert float(step(twice, frozen=True)[1]["loss"]) != float(step(once, frozen=True)[1]["loss"])


def test_every_step_draws_anew(step):
    first, again = (float(step()[1]["loss"]) for _ in range(2))
    later = float(step(state=replace(step.state, step=np.int32(1)))[1]["loss"])
    assert first == again != later


def test_remat_changes_nothing_but_memory(step):
    plain, metrics = step()
    remat, remat_metrics = SmallStep(small_config("", **{"model.remat": True}))()
    assert float(remat_metrics["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-6)
    for ours, theirs in zip(jax.tree.leaves(remat), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
