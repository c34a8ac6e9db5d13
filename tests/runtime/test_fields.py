"""Fields as data: the ConfigDict they build, the values they allow, and the message when one is not allowed."""

import pytest

from lfm_jax.errors import ConfigError
from lfm_jax.runtime.fields import Field, Group

GROUP = Group(
    size=Field(3, "A size.", least=1),
    length=Field(None, "A length, not set.", kind=int, above=0, may_change=True),
    inner=Group(may_change=True, kind=Field("a", "A kind.", choices=("a", "b", "c")), sides=Field((1, 2), "Two sides.")),
)


def test_a_group_builds_a_config_of_its_defaults_with_their_types():
    config = GROUP.config()
    assert config.to_dict() == {"size": 3, "length": None, "inner": {"kind": "a", "sides": (1, 2)}}
    config.length = 5
    with pytest.raises(TypeError):
        config.length = "five"
    assert GROUP.config().length is None


def test_fields_have_dotted_names_in_the_order_of_the_schema():
    assert [name for name, _ in GROUP.fields()] == ["size", "length", "inner.kind", "inner.sides"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("size", 0, r"^config\.size = 0: expected at least 1$"),
        ("length", 0, r"^config\.length = 0: expected above 0$"),
        ("inner.kind", "d", r"^config\.inner\.kind = 'd': expected a, b or c$"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_was_expected(name, value, message):
    config = GROUP.config()
    GROUP.check(config)
    config.update_from_flattened_dict({name: value})
    with pytest.raises(ConfigError, match=message):
        GROUP.check(config)


def test_what_may_change_is_said_by_the_field_or_its_group():
    changeable = {name for name in ("size", "length", "inner.kind", "inner.gone", "gone") if GROUP.lets_change(name)}
    assert changeable == {"length", "inner.kind", "inner.gone"}
