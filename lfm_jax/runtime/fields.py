"""Configuration fields as data: each has a default, the reason for it, and the values it may take.

A `Group` of fields builds the ConfigDict that a run uses. The checks on values, the list of what a resumed run may
change, and the page of documentation are made from the same entries, so a field is described in one place.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ml_collections import ConfigDict, config_dict

from lfm_jax.errors import ConfigError


@dataclass(frozen=True)
class Field:
    """One configuration field.

    Attributes:
      default: the value unless a preset or the command line changes it. None is "not set", and needs `kind`.
      reason: what the field is for, in a sentence or two for the documentation.
      kind: type of the value where `default` is None.
      choices: the only values allowed, if not empty.
      least, most, above, below: bounds on the value, or on each of several; the first two are allowed themselves.
      length: how many values a field of several has; None is any number.
      may_change: whether a resumed run may have another value, because it changes how long, how fast or where the run
        computes, and not what.
    """

    default: Any
    reason: str
    _: KW_ONLY
    kind: type | None = None
    choices: Sequence[Any] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    length: int | None = None
    may_change: bool = False

    def allows(self, value: Any) -> bool:
        """Whether the field may have this value."""
        if value is None:
            return self.default is None
        if self.choices:
            return value in self.choices
        if not isinstance(self.default, tuple):
            return self._allows_one(value)
        several = isinstance(value, tuple | list) and self.length in (None, len(value))
        return several and all(map(self._allows_one, value))

    def _allows_one(self, value: Any) -> bool:
        kinds = _KINDS[self._kind][0]
        if not isinstance(value, kinds) or (isinstance(value, bool) and self._kind is not bool):
            return False
        if self._kind not in (int, float):
            return True
        return (
            -math.inf < value < math.inf  # and not NaN
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    @property
    def _kind(self) -> type:
        if self.kind is not None:
            return self.kind
        return type(self.default[0]) if isinstance(self.default, tuple) else type(self.default)

    @property
    def expected(self) -> str:
        """The values allowed, in words for an error message."""
        if self.choices:
            *others, last = map(str, self.choices)
            return f"{', '.join(others)} or {last}" if others else last
        bounds = {"at least": self.least, "at most": self.most, "above": self.above, "below": self.below}
        words = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
        one, several = _KINDS[self._kind][1:]
        if isinstance(self.default, tuple):
            return f"{self.length or 'several'} {several}{f', each {words}' if words else ''}"
        return words or one


# By the type of a value: the types it may have, and its name in the singular and the plural.
_KINDS: dict[type, tuple[Any, str, str]] = {
    bool: (bool, "True or False", "True or False"),
    int: (int, "a whole number", "whole numbers"),
    float: ((int, float), "a finite number", "finite numbers"),
    str: (str, "text", "texts"),
}


class Group:
    """Fields and groups of fields, by name. With `may_change`, all of them may change when a run is resumed."""

    def __init__(self, *, may_change: bool = False, **entries: "Field | Group"):
        self.may_change = may_change
        self.entries = entries

    def config(self) -> ConfigDict:
        """A new ConfigDict of the defaults, not locked."""
        config = ConfigDict()
        for name, entry in self.entries.items():
            if isinstance(entry, Group):
                config[name] = entry.config()
            else:
                config[name] = config_dict.placeholder(entry.kind) if entry.default is None else entry.default
        return config

    def fields(self, prefix: str = "") -> Iterator[tuple[str, Field]]:
        """Every field with its dotted name, in the order of the schema."""
        for name, entry in self.entries.items():
            if isinstance(entry, Group):
                yield from entry.fields(f"{prefix}{name}.")
            else:
                yield prefix + name, entry

    def lets_change(self, path: str) -> bool:
        """Whether a resumed run may have another value at this dotted name. A name not in the schema follows its group."""
        name, _, rest = path.partition(".")
        entry = self.entries.get(name)
        if self.may_change or entry is None:
            return self.may_change
        return entry.lets_change(rest) if isinstance(entry, Group) else entry.may_change

    def check(self, config: ConfigDict, prefix: str = "config.") -> None:
        """Raises ConfigError, naming the field, its value and what was expected, for a value that a field does not allow."""
        if unknown := [name for name in config if name not in self.entries]:
            raise ConfigError(f"{prefix}{unknown[0]}: there is no such field, expected {', '.join(self.entries)}")
        for name, entry in self.entries.items():
            if name not in config:
                raise ConfigError(f"{prefix}{name} is missing: start from lfm_jax.config.base()")
            if isinstance(entry, Group) and not isinstance(config[name], ConfigDict):
                raise ConfigError(f"{prefix}{name} = {config[name]!r}: expected fields {', '.join(entry.entries)}")
            if isinstance(entry, Group):
                entry.check(config[name], f"{prefix}{name}.")
            elif not entry.allows(config[name]):
                raise ConfigError(f"{prefix}{name} = {config[name]!r}: expected {entry.expected}")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}, with tuples as lists, as JSON gives them back."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def get(config: ConfigDict, field: str) -> Any:
    """The value at a dotted name."""
    for name in field.split("."):
        config = getattr(config, name)
    return config
