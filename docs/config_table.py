"""The page on configuration, made of what stands in lfm_jax/config.py and configs/, so that nothing is said twice.

In: the functions that make up the defaults, with a comment at each field, and the preset files. Out: Markdown.
"""

import ast
import inspect
import io
import json
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from lfm_jax import config

PRESETS = Path(__file__).resolve().parent.parent / "configs"

INTRODUCTION = """# Configuration

A run is a preset file, a Python function `get_config()` that starts from the defaults and changes some, and what the command
line changes in it:

    lfm train --config=configs/paper.py --config.data.root=ROOT --config.model.pooling.k=8 --workdir=DIR

An unknown field is an error that names the nearest. Fields marked \u21bb may be others when a run is resumed: they change how
long, how fast or where, not what is computed. This page is made from the comments in `lfm_jax/config.py` and from the
files in `configs/`.
"""


def page() -> str:
    """Markdown: a table of fields for each group of the config, then every preset as it is."""
    defaults, notes = config.flatten(config.base().to_dict()), reasons(config.base)
    tables: dict[str, list[str]] = {}
    for field in sorted(defaults, key=list(notes).index):
        again = " \u21bb" if field.startswith(config.MAY_CHANGE) else ""
        default = "unset" if defaults[field] is None else f"`{json.dumps(defaults[field])}`"
        group = f"config.{field.split('.')[0]}" if "." in field else "config"
        tables.setdefault(group, []).append(f"| `{field}`{again} | {default} | {notes[field].replace('|', chr(92) + '|')} |")
    parts = [INTRODUCTION]
    for group, rows in tables.items():
        parts += [f"\n## `{group}`\n\n| field | default | |\n|---|---|---|", *rows]
    parts.append("\n## Presets")
    parts += [f"\n### `configs/{file.name}`\n\n```python\n{file.read_text().strip()}\n```" for file in sorted(PRESETS.glob("*.py"))]
    return "\n".join(parts) + "\n"


def reasons(defaults: Callable[[], ConfigDict], prefix: str = "") -> dict[str, str]:
    """Dotted field -> the comment on its line or right above it; fields of one line, or of one dict, share theirs."""
    source = textwrap.dedent(inspect.getsource(defaults))
    comments = _comments(source)
    found: dict[str, str] = {}
    for statement in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if not isinstance(statement, ast.Assign):
            continue
        above = statement.lineno - 1
        while comments.get(above, ("", False))[1]:
            above -= 1
        lines = [comments[line][0] for line in range(above + 1, (statement.end_lineno or 0) + 1) if line in comments]
        for field in _fields(statement.targets[0], prefix):
            found[field] = " ".join(lines)
            found |= _below(field, statement.value, found[field], defaults.__globals__)
    return found


def _comments(source: str) -> dict[int, tuple[str, bool]]:
    """Line -> its comment, and whether there is nothing else on it."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: (t.string.lstrip("# "), t.line.lstrip().startswith("#")) for t in tokens if t.type == tokenize.COMMENT}


def _fields(target: ast.expr, prefix: str) -> Iterator[str]:
    """`config.a.b`, or several of them -> "a.b" behind the prefix."""
    for each in target.elts if isinstance(target, ast.Tuple) else [target]:
        if isinstance(each, ast.Attribute):
            yield prefix + ast.unparse(each).removeprefix("config.")


def _below(field: str, value: ast.expr, reason: str, names: dict[str, Any]) -> dict[str, str]:
    """The fields of a group, where `value` is a function that makes one, or a ConfigDict with its fields written out."""
    if not isinstance(value, ast.Call):
        return {}
    if value.args and isinstance(value.args[0], ast.Dict):
        return {f"{field}.{key}": reason for key in eval(ast.unparse(value.args[0]), names)}
    called = eval(ast.unparse(value.func), names)
    return reasons(called, f"{field}.") if inspect.isfunction(called) and called.__module__.startswith("lfm_jax.") else {}
