"""Training runs that cannot start say which field, split or tensor is at fault."""

import pytest

from lfm_jax.errors import ConfigError, DataError, WeightsError
from lfm_jax.runtime import sharding
from lfm_jax.training.loop import train_and_evaluate
from tests.helpers.training import small_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "config.steps and config.epochs are both unset"),
        ({"steps": -5}, r"config\.steps = -5"),
        ({"data.source": "zip"}, r"config\.data\.source = 'zip'"),
        ({"data.resize": 32}, r"config\.data\.crop = 48 is larger than config\.data\.resize = 32"),
        ({"optim.name": "sgd"}, r"config\.optim\.name = 'sgd'"),
        ({"optim.schedule": "step"}, r"config\.optim\.schedule = 'step'"),
        ({"optim.weight_decay": 0.1}, r"needs config\.optim\.name = 'adamw'"),
        ({"optim.warmup_steps": 9}, r"config\.optim\.warmup_steps = 9 does not fit a run of 6 steps"),
        ({"eval.protocol": "center"}, "'center'"),
        ({"eval.every_steps": 0}, r"config\.eval\.every_steps = 0"),
        ({"data.crop": 20}, "too small"),
        ({"accumulate": 0}, r"config\.accumulate = 0"),
        ({"accumulate": 3}, r"config\.batch_size = 8 does not divide over 1 devices x config\.accumulate = 3: 6 would"),
        ({"optim.lr_scaling": "cubic"}, r"config\.optim\.lr_scaling = 'cubic'"),
        ({"checkpoint.every_minutes": -1.0}, r"config\.checkpoint\.every_minutes = -1"),
        ({"label_smoothing": 1.0}, r"config\.label_smoothing = 1"),
        ({"average_decay": 1.5}, r"config\.average_decay = 1\.5"),
        ({"consistency": -0.1}, r"config\.consistency = -0\.1"),
        ({"init_temperature": 4.0}, r"config\.init_temperature = 4\.0 has no logits to divide: set config\.init_from"),
    ],
)
def test_a_config_that_cannot_run_says_which_field(data_root, tmp_path, changes, message):
    config = small_config(data_root)
    config.unlock()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        train_and_evaluate(config, tmp_path / "w")
    assert not (tmp_path / "w" / "metrics.jsonl").exists()


def test_a_data_root_without_splits_says_what_is_in_it(tmp_path):
    (tmp_path / "horses").mkdir()
    with pytest.raises(DataError, match=r"looked for train/GROUP/0_real/.*found horses"):
        train_and_evaluate(small_config(tmp_path), tmp_path / "w")


def test_weights_that_do_not_fit_the_model_name_the_tensor(whole_run, data_root, tmp_path):
    config = small_config(data_root, **{"init_from": str(whole_run[0]), "model.maps": 5})
    with pytest.raises(WeightsError, match=r"config\.init_from = .*\n.*mis-shaped params/head/kernel: \(16, 1\), the model"):
        train_and_evaluate(config, tmp_path)


def test_a_batch_that_does_not_divide_over_the_devices_says_the_numbers():
    with pytest.raises(ConfigError, match=r"config\.batch_size = 12 does not divide over 8 devices: 8 would"):
        sharding.check_batch_size(12, 8)
    with pytest.raises(ConfigError, match=r"batch_size = 24 does not divide over 8 devices x config\.accumulate = 2: 16 would"):
        sharding.check_batch_size(24, 8, accumulate=2)
