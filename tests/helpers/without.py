"""A Python process in which some packages cannot be imported, as on machines that have only what an export needs."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HIDING = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run_without(absent: Sequence[str], code: str, *argv: Any, folder: Path | None = None) -> str:
    """Run `code` where the packages `absent` cannot be imported, and return what it prints.

    `sys` and `json` are imported before `code` starts, and `argv` is its `sys.argv[1:]`.

    Raises:
      CalledProcessError: `code` failed.
    """
    command = [sys.executable, "-c", HIDING.format(absent=tuple(absent)) + code, *argv]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
