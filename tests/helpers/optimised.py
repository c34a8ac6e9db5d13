"""Tests in a process of their own, whose programs are compiled as users compile them."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

import pytest

QUICK_COMPILING = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
OPTIMISED = "LFM_TESTS_OPTIMISED"  # 1 in such a process


class InOwnProcess(pytest.Item):
    """A test that stands for another. The first one of a file to run runs all of them that were chosen from it."""

    @classmethod
    def of(cls, item: pytest.Item) -> Self:
        made = cls.from_parent(item.parent, name=item.name)
        made.own_markers.extend(item.own_markers)
        return made

    def runtest(self) -> None:
        chosen = tuple(item.nodeid for item in self.session.items if isinstance(item, InOwnProcess) and item.path == self.path)
        cases, output = _run(self.config.rootpath, chosen)
        case = cases.get(self.name)
        if case is None:
            pytest.fail(f"its process ended before it: {output[-5000:]}", pytrace=False)
        for result in case:
            if result.tag == "skipped":
                pytest.skip(result.get("message", ""))
            if result.tag in ("failure", "error"):
                pytest.fail(result.text or "", pytrace=False)


def in_own_process(items: list[pytest.Item]) -> None:
    """Replaces tests marked `optimised`, unless this is such a process."""
    if not os.environ.get(OPTIMISED):
        items[:] = [InOwnProcess.of(item) if item.get_closest_marker("optimised") else item for item in items]


@functools.cache
def _run(root: Path, chosen: tuple[str, ...]) -> tuple[dict[str, ElementTree.Element], str]:
    """What came of each test of one file, by its name, and all that was printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {OPTIMISED: "1"}
    env["XLA_FLAGS"] = env.get("XLA_FLAGS", "").replace(QUICK_COMPILING, "")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", f"--junitxml={file}", *chosen]
        ran = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
        cases = ElementTree.parse(file).iter("testcase") if file.exists() else ()
        return {case.get("name", ""): case for case in cases}, ran.stdout + ran.stderr
