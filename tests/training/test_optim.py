"""Learning-rate schedules step by step, and the optimizers against PyTorch's."""

import numpy as np
import optax
import pytest

from lfm_jax import config as config_lib
from lfm_jax.errors import ConfigError
from lfm_jax.training import optim


def schedule(steps=1000, steps_per_epoch=10.0, **changes):
    config = config_lib.optim()
    config.update_from_flattened_dict(changes)
    return optim.build(config, steps=steps, steps_per_epoch=steps_per_epoch, batch_size=32)[1]


@pytest.mark.parametrize(("offset", "falls_after"), [(0.0, [10, 20, 30]), (1.0, [11, 21, 31])])
def test_the_staircase_falls_after_the_epochs_it_should(offset, falls_after):
    rates = [float(schedule(**{"staircase.offset_epochs": offset})(step)) for step in range(400)]
    falls = [step for step in range(1, 400) if rates[step] != rates[step - 1]]
    assert falls == [epoch * 10 for epoch in falls_after]
    np.testing.assert_allclose([rates[0], rates[399]], [1e-4, 1e-4 * 0.9**3], rtol=1e-6)


def test_the_staircase_keeps_its_boundaries_where_an_epoch_is_not_a_whole_number_of_steps():
    rates = [float(schedule(steps_per_epoch=144024 / 32)(step)) for step in (45006, 45007)]
    assert rates[0] > rates[1]


@pytest.mark.parametrize(("rule", "rate"), [("none", 0.5), ("linear", 4.0), ("sqrt", 0.5 * 8**0.5)])
def test_the_rate_grows_with_the_batch_by_the_rule_chosen(rule, rate):
    config = config_lib.optim()
    config.lr, config.lr_scaling = 0.5, rule
    assert optim.scaled_lr(config, 256) == pytest.approx(rate)
    with pytest.raises(ConfigError, match=r"config\.optim\.lr_scaling = 'cubic': expected none, linear or sqrt"):
        schedule(lr_scaling="cubic")


def test_the_staircase_has_a_floor():
    assert float(schedule(steps_per_epoch=1.0)(999)) == pytest.approx(1e-6)


def test_cosine_warms_up_and_ends_at_zero():
    cosine = schedule(schedule="cosine", warmup_steps=10, lr=1.0)
    assert 0 < float(cosine(0)) < 0.2
    assert float(cosine(10)) == pytest.approx(1.0)
    assert float(cosine(1000)) == pytest.approx(0.0, abs=1e-6)


def test_constant_stays_constant_after_the_warm_up():
    constant = schedule(schedule="constant", warmup_steps=4, lr=0.5)
    assert [float(constant(step)) for step in (4, 999)] == [0.5, 0.5]
    assert float(constant(0)) == pytest.approx(0.1)


@pytest.mark.parametrize(("name", "weight_decay"), [("adam", 0.0), ("adamw", 0.1)])
def test_updates_are_pytorchs(name, weight_decay):
    torch = pytest.importorskip("torch", reason="compares with PyTorch's optimizers")
    draws = np.random.default_rng(0)
    start, grads = draws.normal(size=5).astype(np.float32), draws.normal(size=(4, 5)).astype(np.float32)
    config = config_lib.optim()
    config.name, config.weight_decay, config.schedule = name, weight_decay, "constant"
    tx, _ = optim.build(config, steps=4, steps_per_epoch=1.0, batch_size=32)
    ours, state = start, tx.init(start)
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    reference = kind([theirs], lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)
    for grad in grads:
        updates, state = tx.update(grad, state, ours)
        ours = optax.apply_updates(ours, updates)
        theirs.grad = torch.from_numpy(grad.copy())
        reference.step()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-6, atol=1e-7)
