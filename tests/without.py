"""A Python in which packages are missing, as on machines that an export or a training run goes to."""

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
    """What `code` prints where `absent` cannot be imported; `sys` and `json` are there. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-c", HIDING.format(absent=tuple(absent)) + code, *argv]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
