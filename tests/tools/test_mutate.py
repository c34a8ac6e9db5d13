"""The mutation testing tool, on a project of one function."""

import os
import subprocess
import sys

import pytest

from tests.helpers.paths import REPOSITORY
from tools.mutate import Mutant, TableError, choose, read

CODE = "def clipped(x):\n    return min(x, 10)\n\n\ndef forever():\n    return False\n"
TESTS = """
from thing import clipped, forever


def test_small():
    assert clipped(3) == 3


def test_large():
    assert clipped(11) == 10


def test_ends():
    while forever():
        pass
"""
MUTANTS = {
    "killed": {"old": "min(x, 10)", "new": "min(x, 11)", "tests": ["test_thing.py"]},
    "survives": {"old": "min(x, 10)", "new": "min(x, 10) + 0", "tests": ["test_thing.py"]},
    "untested": {"old": "min(x, 10)", "new": "min(x, 11)", "tests": ["test_thing.py::test_small"]},
    "same": {"old": "min(x, 10)", "new": "min(10, x)", "same": "min is symmetric"},
    "hangs": {"old": "return False", "new": "return True", "tests": ["test_thing.py"], "timeout": 4},
    "broken": {"old": "def clipped", "new": "def renamed", "tests": ["test_thing.py"]},
    "stale-snippet": {"old": "max(x, 10)", "new": "x", "tests": ["test_thing.py"]},
    "no-python": {"old": "return False", "new": "return (", "tests": ["test_thing.py"]},
    "twice": {"old": "return", "new": "yield", "tests": ["test_thing.py"]},
    "stale-test": {"old": "min(x, 10)", "new": "x", "tests": ["test_gone.py"]},
}


def write_table(path, mutants):
    lines = []
    for name, entry in mutants.items():
        lines += ["[[mutant]]", f'name = "{name}"', 'file = "thing.py"', *(f"{key} = {value!r}" for key, value in entry.items())]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "thing.py").write_text(CODE)
    (root / "test_thing.py").write_text(TESTS)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


def mutate(project, table, *options):
    command = [sys.executable, REPOSITORY / "tools" / "mutate.py", f"--root={project}", f"--table={table}", *options]
    env = {**os.environ, "PYTHONPATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # none is used, and a pytest starts sooner
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def all_of_them(project):
    return mutate(project, write_table(project / "mutants.toml", MUTANTS), "--jobs=2")


@pytest.mark.parametrize(
    ("name", "outcome", "by"),
    [
        ("killed", "killed", "test_thing.py::test_large"),
        ("survives", "survived", "test_thing.py"),
        ("untested", "survived", "test_thing.py::test_small"),
        ("same", "same", "min is symmetric"),
        ("hangs", "killed", "no answer in 4 s"),
        ("broken", "killed", "test_thing.py"),
        ("stale-snippet", "stale", "occurs 0 times"),
        ("no-python", "stale", "the change is not Python"),
        ("twice", "stale", "occurs 2 times"),
        ("stale-test", "stale", "could not run test_gone.py"),
    ],
)
def test_each_mutant_has_its_outcome_in_the_table(all_of_them, name, outcome, by):
    (line,) = (line for line in all_of_them.stdout.splitlines() if line.startswith(f"| {name} |"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[2] == outcome
    assert by in cells[3]


def test_survivors_fail_the_command_and_are_counted(all_of_them):
    assert all_of_them.returncode == 1
    counts = all_of_them.stdout.splitlines()[-1].removeprefix("10 mutants: ").split(", ")
    assert sorted(counts) == ["1 same", "2 survived", "3 killed", "4 stale"]


def test_the_working_tree_is_left_alone(all_of_them, project):
    assert (project / "thing.py").read_text() == CODE


def test_it_passes_where_all_are_killed(project):
    good = {name: MUTANTS[name] for name in ("killed", "same")}
    ran = mutate(project, write_table(project / "good.toml", good))
    assert ran.returncode == 0, ran.stderr
    assert "2 mutants: 1 killed, 1 same" in ran.stdout


@pytest.mark.parametrize("name", ["survives", "stale-snippet", "stale-test"])
def test_one_that_is_not_killed_is_enough_to_fail(project, name):
    assert mutate(project, write_table(project / f"{name}.toml", {name: MUTANTS[name]})).returncode == 1


def test_tests_that_fail_unchanged_kill_nothing(project):
    (project / "test_wrong.py").write_text("def test_wrong():\n    assert False\n")
    wrong = {"wrong": {"old": "min(x, 10)", "new": "x", "tests": ["test_wrong.py"]}}
    ran = mutate(project, write_table(project / "wrong.toml", wrong))
    assert ran.returncode == 2
    assert "the tests fail without a mutant: test_wrong.py::test_wrong" in ran.stderr


def test_a_sample_is_a_share_of_them_the_same_for_a_seed():
    mutants = [Mutant(str(number), "f", "a", "b", ("t",)) for number in range(40)]
    samples = {seed: choose(mutants, only=(), sample=0.1, seed=seed) for seed in range(5)}
    assert {len(sample) for sample in samples.values()} == {4}
    assert samples[0] == choose(mutants, only=(), sample=0.1, seed=0)
    assert samples[0] != samples[1]
    assert choose(mutants, only=["3?", "7"], sample=1.0, seed=0) == [mutants[7], *mutants[30:40]]
    with pytest.raises(TableError, match="--only=x: no mutant is called so"):
        choose(mutants, only=["x"], sample=1.0, seed=0)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"old": "a", "new": "b"}, "needs either tests that kill it"),
        ({"old": "a", "new": "b", "tests": ["t"], "same": "so"}, "needs either tests that kill it"),
        ({"old": "a", "new": "a", "tests": ["t"]}, "changes nothing"),
        ({"old": "a", "new": "b", "test": "t"}, "test"),
    ],
)
def test_an_entry_that_says_too_little_or_too_much_is_refused(tmp_path, entry, words):
    with pytest.raises(TableError, match=words):
        read(write_table(tmp_path / "mutants.toml", {"one": entry}))


def test_two_of_one_name_are_refused(tmp_path):
    table = write_table(tmp_path / "mutants.toml", {"one": MUTANTS["killed"]})
    table.write_text(table.read_text() + "\n" + table.read_text())
    with pytest.raises(TableError, match="two mutants are called one"):
        read(table)


def test_every_snippet_of_our_own_table_is_in_its_file_once():
    mutants, _ = read(REPOSITORY / "tools" / "mutants.toml")
    counts = {mutant.name: (REPOSITORY / mutant.file).read_text().count(mutant.old) for mutant in mutants}
    assert {name: count for name, count in counts.items() if count != 1} == {}
    tests = {test.partition("::")[0] for mutant in mutants for test in mutant.tests}
    assert [test for test in sorted(tests) if not (REPOSITORY / test).exists()] == []
