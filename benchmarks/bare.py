"""A stand-in for ml_collections, for lent machines that have jax, flax, optax and torch and nothing to install from.

To import this module is enough: where ml_collections is absent, `import ml_collections` then works, with what the model, the
training step and the benchmarks use of it. The stand-in checks nothing.
"""

import copy
import importlib.util
import sys
import types
from collections.abc import Mapping
from typing import Any


class ConfigDict(dict[str, Any]):
    """A dictionary whose entries are attributes, and whose dictionaries are ConfigDicts."""

    def __init__(self, entries: Mapping[str, Any] | None = None):
        super().__init__()
        self.update(entries or {})

    def __setitem__(self, name: str, value: Any) -> None:
        plain = isinstance(value, Mapping) and not isinstance(value, ConfigDict)
        super().__setitem__(name, ConfigDict(value) if plain else value)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    __setattr__ = __setitem__

    def update(self, *others: Any, **named: Any) -> None:
        """Takes over entries, those of nested dictionaries one by one."""
        for name, value in dict(*others, **named).items():
            if isinstance(value, Mapping) and isinstance(self.get(name), ConfigDict):
                self[name].update(value)
            else:
                self[name] = value

    def update_from_flattened_dict(self, entries: Mapping[str, Any]) -> None:
        """Takes over entries by dotted name."""
        for path, value in entries.items():
            *groups, name = path.split(".")
            group: Any = self
            for part in groups:
                group = group[part]
            group[name] = value

    def copy_and_resolve_references(self) -> "ConfigDict":
        return copy.deepcopy(self)

    def to_dict(self) -> dict[str, Any]:
        return {name: value.to_dict() if isinstance(value, ConfigDict) else value for name, value in self.items()}

    def lock(self) -> "ConfigDict":
        return self

    def unlock(self) -> "ConfigDict":
        return self

    def __deepcopy__(self, memo: Any) -> "ConfigDict":
        return ConfigDict({name: copy.deepcopy(value, memo) for name, value in self.items()})


def is_absent(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is None
    except ModuleNotFoundError:
        return True


def stand_in() -> None:
    """Puts the stand-in where `import` finds it."""
    module, part = types.ModuleType("ml_collections"), types.ModuleType("ml_collections.config_dict")
    for each in (module, part):
        each.ConfigDict = ConfigDict  # type: ignore[attr-defined]
    part.placeholder = lambda kind: None  # type: ignore[attr-defined]
    module.config_dict = part  # type: ignore[attr-defined]
    sys.modules |= {"ml_collections": module, "ml_collections.config_dict": part}


if is_absent("ml_collections"):
    stand_in()
