"""Presets: Python files whose function `get_config()` returns a config, chosen by name or by path.

The package's own presets lie in `configs/` at the top of a checkout, and inside the package in a wheel. Either way they
are the modules of `lfm_jax.configs`, so that any preset can build on them.
"""

import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from lfm_jax.errors import ConfigError, UserError, first_line, line_in
from lfm_jax.runtime.paths import expanded

_PACKAGE = Path(__file__).resolve().parent
FOLDER = next(folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir())


def names() -> list[str]:
    """The package's own presets, as `--config` takes them: "tiny", "ablations/pooling", ..."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.py"))


def load_preset(preset: str) -> ModuleType:
    """Import a preset by name ("tiny", "ablations/pooling") or by the path of a file, which may import its neighbours.

    A file wins over a name. Where no such file exists, "configs/tiny.py" means "tiny" as well.

    Raises:
      ConfigError: the preset does not exist, or fails to run; names the nearest one, or the line at fault.
    """
    file, name = expanded(preset), preset.removesuffix(".py").removeprefix("configs/")
    if file.is_file():
        sys.path.insert(0, str(file.resolve().parent))
        if not file.resolve().is_relative_to(FOLDER):
            return _run(preset, file)
        name = file.resolve().relative_to(FOLDER).with_suffix("").as_posix()
    elif name not in names():
        raise ConfigError(f"--config={preset}: {_unknown(preset)}")
    with _blamed(preset, FOLDER / f"{name}.py"):
        return importlib.import_module(f"lfm_jax.configs.{name.replace('/', '.')}")


def load_config(preset: str) -> ConfigDict:
    """The config that a preset makes. Raises ConfigError as `load_preset` does, and for a field that does not exist."""
    module = load_preset(preset)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"--config={preset}: a preset needs a function get_config() -> ConfigDict")
    with _blamed(preset, Path(str(module.__file__))):
        config = module.get_config()
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"--config={preset}: get_config() returned {type(config).__name__}, expected a ConfigDict")
    return config


def _run(preset: str, file: Path) -> ModuleType:
    """Run a file outside the package as a module."""
    file = file.resolve()
    loader = SourceFileLoader(f"lfm_preset_{file.stem}", str(file))
    spec = importlib.util.spec_from_file_location(loader.name, file, loader=loader)
    assert spec is not None  # only a missing loader would make it so
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    with _blamed(preset, file):
        loader.exec_module(module)
    return module


def _unknown(preset: str) -> str:
    if preset.endswith(".py"):
        return "no such file"
    near = difflib.get_close_matches(preset, names(), n=1)
    return (
        f"no preset of that name, and no such file{f', did you mean {near[0]!r}?' if near else ';'} presets: {', '.join(names())}"
    )


@contextmanager
def _blamed(preset: str, file: Path) -> Iterator[None]:
    """Turn whatever a preset raises into a ConfigError that names the preset and the line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        line = line_in(file, error)
        where = f"--config={preset}{f', line {line}' if line else ''}"
        is_field = "does not exist and cannot be added" in str(error)
        message = unknown_field(error) if is_field else f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{where}: {message}") from error


def unknown_field(error: BaseException) -> str:
    """What a ConfigDict's error says of a field it does not have, without its listing of all that it has."""
    text = str(error)
    near = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', text)
    field = near[2] if near else re.sub(r"""^['"]+(Key ")?|" does not exist.*|['"]+$""", "", text, flags=re.DOTALL)
    return f"unknown config field {field!r}" + (f", did you mean {near[1]!r}?" if near else "")
