"""The configuration as data: defaults, what a value may be, and what a resumed run may change."""

import pytest

from lfm_jax import config
from lfm_jax.errors import ConfigError


def changed(**fields):
    """The defaults with a length, and with these dotted fields changed."""
    new = config.base()
    new.update_from_flattened_dict({"steps": 10} | {name.replace("__", "."): value for name, value in fields.items()})
    return new


def test_the_groups_are_the_parts_of_the_whole():
    whole = config.base()
    for name in ("model", "data", "optim", "checkpoint"):
        assert getattr(config, name)().to_dict() == whole[name].to_dict()
    assert whole.is_locked
    assert (whole.get_type("steps"), whole.get_type("epochs")) == (int, float)


def test_the_defaults_can_run_once_a_length_is_set():
    config.validate(changed())
    config.validate(changed(steps=None, epochs=0.5))
    with pytest.raises(ConfigError, match=r"config\.steps and config\.epochs are both unset"):
        config.validate(config.base())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, r"config\.steps = 0: expected above 0"),
        ({"label_smoothing": 1.0}, r"config\.label_smoothing = 1\.0: expected at least 0 and below 1"),
        ({"consistency": float("nan")}, r"config\.consistency = nan: expected at least 0"),
        ({"checkpoint__keep": 0}, r"config\.checkpoint\.keep = 0: expected at least 1"),
        ({"optim__name": "sgd"}, r"config\.optim\.name = 'sgd': expected adam or adamw"),
        ({"optim__schedule": "steps"}, r"config\.optim\.schedule = 'steps': expected staircase, constant or cosine"),
        (
            {"data__source": "parquet"},
            r"config\.data\.source = 'parquet': no such data source\. Expected one of folder, list, tfds",
        ),
        ({"data__crop": 512}, r"config\.data\.crop = 512 is larger than config\.data\.resize = 256"),
        ({"data__crop": 20}, r"config\.data\.crop: 20 x 20 px is too small"),
        ({"eval__protocol": "crp224"}, r"config\.eval\.protocol: unknown protocol 'crp224'"),
        ({"model__random_k__order": "random"}, r"config\.model\.random_k\.order = 'random': expected descending or ascending"),
        ({"model__residual__factor": 3}, r"config\.model\.residual\.factor = 3"),
    ],
)
def test_a_value_that_cannot_work_is_named_with_what_was_expected(fields, message):
    with pytest.raises(ConfigError, match=message):
        config.validate(changed(**fields))


def test_the_batch_is_checked_against_the_devices_where_they_are_known():
    config.validate(changed(batch_size=12))
    config.validate(changed(batch_size=12), devices=4)
    with pytest.raises(ConfigError, match=r"config\.batch_size = 12 does not divide over 8 devices: 8 would"):
        config.validate(changed(batch_size=12), devices=8)


def test_a_resumed_run_may_change_how_long_how_fast_and_where_but_not_what_is_computed():
    saved = changed().to_dict() | {"eval": {"gone_since": 1}}
    config.check_same_run(saved, changed(steps=20, data__root="/moved", data__threads=2, model__remat=True, checkpoint__keep=9))
    with pytest.raises(ConfigError) as refused:
        config.check_same_run(saved, changed(optim__lr=1.0, seed=3, log_every_steps=7))
    assert "config.optim.lr: 0.0001 there, 1.0 now" in str(refused.value)
    assert "config.seed: 0 there, 3 now" in str(refused.value)
    assert "log_every_steps" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"config\.gone_since: 1 there, None now"):
        config.check_same_run(saved | {"gone_since": 1}, changed())
