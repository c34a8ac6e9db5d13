"""Every field says which values it may have, and presets that do not make a config are refused in one line."""

import pytest

from lfm_jax import config as config_lib
from lfm_jax import presets
from lfm_jax.errors import ConfigError
from lfm_jax.runtime.fields import Field


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", -1, "config.seed = -1: expected at least 0"),
        ("seed", 10**22, "config.seed = 1"),
        ("batch_size", 0, "config.batch_size = 0: expected at least 1"),
        ("batch_size", 10**20, "config.batch_size = 1"),
        ("optim.lr", -1.0, "config.optim.lr = -1.0: expected above 0"),
        ("optim.lr", 0.0, "config.optim.lr = 0.0: expected above 0"),
        ("optim.lr", float("inf"), "config.optim.lr = inf"),
        ("optim.lr", float("nan"), "config.optim.lr = nan"),
        ("model.widths", (0, 0), "config.model.widths = (0, 0): expected several whole numbers, each at least 1"),
        ("model.widths", ("x",), "config.model.widths = ('x',)"),
        ("model.maps", -5, "config.model.maps = -5: expected at least 0"),
        ("model.std", (0.2, 0.0, 0.2), "config.model.std = (0.2, 0.0, 0.2): expected 3 finite numbers, each above 0"),
        ("data.threads", 0, "config.data.threads = 0: expected at least 1"),
        ("optim.b1", 1.0, "config.optim.b1 = 1.0"),
        ("profile_steps", (1,), "config.profile_steps = (1,): expected 2 whole numbers"),
    ],
)
def test_a_value_out_of_the_range_of_its_field_is_refused(field, value, message):
    config = config_lib.base()
    config.steps = 10
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError) as refused:
        config_lib.validate(config)
    assert message in str(refused.value)


def test_every_number_has_a_range():
    """All but the few whose check needs other fields, or that may have any value."""
    unbounded = {
        name
        for name, field in config_lib.BASE.fields()
        if isinstance(field, Field) and field._kind in (int, float) and (field.least, field.above, field.below) == (None,) * 3
    }
    assert {name for name in unbounded if ".augment." not in name} == {
        "model.residual.scale",  # any factor
        "model.residual.factor",  # even, see ops.npr
        "model.mean",
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('no disk')", "line 2: RuntimeError: no disk"),
        ("import sys; sys.exit(0)", "line 2: SystemExit: 0"),
        ("return None", "returned NoneType, expected a ConfigDict"),
        ("return 1 / 0", "line 2: ZeroDivisionError"),
    ],
)
def test_a_preset_that_makes_no_config_is_refused(tmp_path, body, message, lfm):
    preset = tmp_path / "preset.py"
    preset.write_text(f"def get_config():\n    {body}\n")
    with pytest.raises(ConfigError) as refused:
        presets.load_config(str(preset))
    assert message in str(refused.value)
    assert lfm("train", f"--config={preset}", f"--workdir={tmp_path / 'run'}").status == 2


@pytest.mark.parametrize(
    ("change", "message"), [("del config.optim", "config.optim is missing"), ("config.lr = 1", "config.lr: there is no such")]
)
def test_a_config_of_other_fields_is_refused_by_name(change, message):
    config = config_lib.base()
    with config.unlocked():
        exec(change, {"config": config})
    with pytest.raises(ConfigError) as refused:
        config_lib.validate(config)
    assert message in str(refused.value)
