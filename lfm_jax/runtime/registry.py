"""Parts that a config chooses by name, built-in ones and your own.

    @POOLINGS.register("mine")
    def mine(config):
        return Pooling(...)

A registry maps names to factories. `--import=my_parts.py` runs such a file before any `lfm` command, so that weights
trained with a part of your own can be loaded, scored and explained like all others: see docs/extending.md.
"""

import difflib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from lfm_jax.errors import ConfigError, UserError, first_line

Factory = TypeVar("Factory")


class Registry(Mapping[str, Factory]):
    """Factories by name. `what` is what one of them makes, in words; `field` the config field that chooses it."""

    def __init__(self, what: str, field: str):
        self.what, self.field = what, field
        self._factories: dict[str, Factory] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator that enters a factory under `name`; a name entered again is replaced, as notebooks run cells twice."""

        def enter(factory: Factory) -> Factory:
            self._factories[name] = factory
            return factory

        return enter

    def choose(self, name: str) -> Factory:
        """The factory of that name.

        Raises:
          ConfigError: there is none; names the field, the nearest name and how to bring your own.
        """
        if name in self._factories:
            return self._factories[name]
        near = difflib.get_close_matches(name, self._factories, n=1)
        raise ConfigError(
            f"{self.field} = {name!r}: no such {self.what}{f', did you mean {near[0]!r}?' if near else '.'} Expected one of "
            f"{', '.join(self._factories)}, or one of your own from --import=FILE.py (docs/extending.md)"
        )

    def __getitem__(self, name: str) -> Factory:
        return self._factories[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)


def import_parts(path: str) -> None:
    """Runs a Python file that registers parts. Its folder is searched for the modules it imports.

    Raises:
      UserError: there is no such file, or it fails; names the file, the line and the error.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"--import={path}: no such file")
    spec = importlib.util.spec_from_file_location(f"lfm_parts_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"--import={path}: expected a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        line = _line_in(file, error)
        raise UserError(
            f"--import={path}{f', line {line}' if line else ''}: {type(error).__name__}: {first_line(error)}"
        ) from error


def _line_in(file: Path, error: BaseException) -> int | None:
    """The last line of `file` that the error passed through."""
    if isinstance(error, SyntaxError):
        return error.lineno
    trace, line = error.__traceback__, None
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
