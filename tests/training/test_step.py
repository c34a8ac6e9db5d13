"""A single training step: frozen, in parts, rematerialised, and what it draws."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from lfm_jax.data.batch import split_into_parts, views_per_image
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.open import open_split
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


def on_device(**changes):
    """A run on drawn images that are saved as JPEG once or twice in the step, which is the host's to the bit."""
    degraded = {f"data.augment.{name}.p": 0.7 for name in ("jpeg", "first_jpeg")}
    drawn = {"data.source": "synthetic", "data.synthetic.side": 64, "data.synthetic.train": 16}
    return small_config("", **drawn, **degraded, **{"data.augment.after_resize": False, "data.augment_on": "device"}, **changes)


def losses(config, step, steps=2):
    """Losses of the first steps, with the batches that the pipeline of this config makes."""
    source = open_split(config.data, "train", seed=config.seed)
    pipeline = TrainPipeline(source, config.data, seed=config.seed, views=views_per_image(config))
    values = []
    for batch in pipeline.batches(0, steps, config.batch_size, parts=config.accumulate):
        values.append(float(step(split_into_parts(batch, config.accumulate))[1]["loss"]))
    return values


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}, {"consistency": 0.5}], ids=str)
def test_a_step_that_degrades_sees_what_the_host_would_have_degraded(changes):
    config = on_device(**changes)
    there = losses(config, SmallStep(config))
    config.data.augment_on = "host"
    step = SmallStep(config)
    here = losses(config, step)
    assert there == pytest.approx(here, rel=1e-3)
    config.data.augment.jpeg.p = config.data.augment.first_jpeg.p = 0.0
    assert there != pytest.approx(losses(config, step), rel=2e-3)  # so that the comparison means something
