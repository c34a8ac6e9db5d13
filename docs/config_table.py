"""The documentation page "Configuration", made from lfm_jax/config.py and the preset files so that nothing is said twice."""

import json
from pathlib import Path

from lfm_jax import config
from lfm_jax.runtime.fields import Field

PRESETS = Path(__file__).resolve().parent.parent / "configs"

INTRODUCTION = """# Configuration

A run is described by a preset, a Python file whose function `get_config()` starts from the defaults and changes some, and
by what the command line changes in it:

    lfm train --config=paper --config.data.root=ROOT --config.model.pooling.k=8 --workdir=DIR

`--config` takes the name of a preset below, or the path of a file of your own. An unknown field is an error that names the
nearest one. Fields marked \u21bb may change when a run is resumed: they decide how long, how fast or where it computes, not
what. This page is made from `lfm_jax/config.py` and the files in `configs/`.
"""


def page() -> str:
    """Markdown: a table of fields for each group of the config, then every preset in full."""
    tables: dict[str, list[str]] = {}
    for name, field in config.BASE.fields():
        group = f"config.{name.split('.')[0]}" if "." in name else "config"
        tables.setdefault(group, []).append(row(name, field))
    parts = [INTRODUCTION]
    for group, rows in tables.items():
        parts += [f"\n## `{group}`\n\n| field | default | |\n|---|---|---|", *rows]
    parts.append("\n## Presets")
    parts += [f"\n### `{file.stem}`\n\n```python\n{file.read_text().strip()}\n```" for file in sorted(PRESETS.glob("*.py"))]
    return "\n".join(parts) + "\n"


def row(name: str, field: Field) -> str:
    """One line of a table: the field's name, its default and the reason for it."""
    may_change = " \u21bb" if config.BASE.lets_change(name) else ""
    default = "unset" if field.default is None else f"`{json.dumps(field.default)}`"
    reason = field.reason.replace("|", "\\|")
    return f"| `{name}`{may_change} | {default} | {reason} |"
