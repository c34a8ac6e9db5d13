"""Parts that a config chooses by name, whether built in or your own.

    @POOLINGS.register("mine")
    def mine(config):
        return Pooling(...)

A registry maps names to factories. `--import=my_parts.py` runs such a file before any `lfm` command, so weights that were
trained with your own part can be loaded, scored and explained like any others. See docs/extending.md.
"""

import difflib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from lfm_jax.errors import ConfigError, UserError, first_line, line_in
from lfm_jax.runtime.paths import expanded

Factory = TypeVar("Factory")


class Registry(Mapping[str, Factory]):
    """Factories by name. `what` says in words what they make, and `field` is the config field that chooses one."""

    def __init__(self, what: str, field: str):
        self.what, self.field = what, field
        self._factories: dict[str, Factory] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator that registers a factory under `name`. It replaces an earlier one, because notebooks run cells twice."""

        def enter(factory: Factory) -> Factory:
            self._factories[name] = factory
            return factory

        return enter

    def choose(self, name: str) -> Factory:
        """The factory of that name.

        Raises:
          ConfigError: no factory has that name. The message names the field, the nearest name and how to add your own.
        """
        if name in self._factories:
            return self._factories[name]
        near = difflib.get_close_matches(name, self._factories, n=1)
        raise ConfigError(
            f"{self.field} = {name!r}: no such {self.what}{f', did you mean {near[0]!r}?' if near else '.'} Expected one of "
            f"{', '.join(self._factories)}, or your own from --import=FILE.py (docs/extending.md)"
        )

    def __getitem__(self, name: str) -> Factory:
        return self._factories[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)


_imported: list[str] = []


def imported() -> list[str]:
    """The files of own parts that this process has run, for processes that it starts."""
    return list(_imported)


def import_parts(path: str) -> None:
    """Runs a Python file that registers parts. It may import modules from its own folder.

    Raises:
      UserError: the file does not exist or fails; the message names the file, the line and the error.
    """
    file = expanded(path)
    if not file.is_file():
        raise UserError(f"--import={path}: no such file")
    spec = importlib.util.spec_from_file_location(f"lfm_parts_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"--import={path}: expected a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    _imported.append(str(file.resolve()))
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        line = line_in(file, error)
        raise UserError(
            f"--import={path}{f', line {line}' if line else ''}: {type(error).__name__}: {first_line(error)}"
        ) from error
