"""Tests that run in a process of their own report what came of them there."""

import os
import subprocess
import sys

import pytest

from tests.helpers.optimised import OPTIMISED, QUICK_COMPILING
from tests.helpers.paths import REPOSITORY

TESTS = """
import os

import pytest

pytestmark = pytest.mark.optimised


@pytest.mark.parametrize("flag", ["passes", "fails"])
def test_one(flag):
    assert os.environ["XLA_FLAGS"].strip() == "--xla_something"
    assert flag == "passes", "seen in its process"


def test_two():
    pytest.skip("for a reason")


def test_three():
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("chosen", "outcome"), [("one or two", "1 failed, 1 passed, 1 skipped"), ("two or three", "2 failed"), ("passes", "1 passed")]
)
def test_what_came_of_each_is_reported(tmp_path, chosen, outcome):
    (tmp_path / "conftest.py").write_text("from tests.helpers.optimised import in_own_process as pytest_collection_modifyitems\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = optimised\n")
    (tmp_path / "test_things.py").write_text(TESTS)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_") and name != OPTIMISED}
    env |= {"PYTHONPATH": str(REPOSITORY), "XLA_FLAGS": f"--xla_something {QUICK_COMPILING}"}
    command = [sys.executable, "-m", "pytest", "-rfs", "-k", chosen, str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert outcome in ran.stdout, ran.stdout
    for word, said in (("1 failed,", "seen in its process"), ("1 skipped", "for a reason"), ("2 failed", "ended before it")):
        assert (said in ran.stdout) == (word in outcome), ran.stdout
