"""Mutation testing: change one thing in the package, and see that a test fails.

    python tools/mutate.py                        # all of them
    python tools/mutate.py --only 'pooling-*'     # by name, also several times
    python tools/mutate.py --sample 0.1 --seed 7  # a random tenth

tools/mutants.toml lists the mutants. Each names a file, a snippet that occurs in it exactly once, what takes its place, and the
tests of which one must fail; or, in `same`, the reason why the changed program is the same program. `preload` lists packages to
import once for all of them: every mutant runs in a process forked from one that has them. The changes are made in a copy
of the working tree, one per job. Before any mutant runs, the chosen tests have to pass in that copy unchanged.

Prints a table. Exit status 1 where a mutant survives, a snippet no longer matches or a test is not there; 2 where the tests fail
without a mutant, or the command is wrong.
"""

import argparse
import contextlib
import fnmatch
import importlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
TABLE = Path("tools", "mutants.toml")
TIMEOUT = 300.0  # s of one mutant
FAILED, INTERRUPTED = 1, 2  # pytest's exit status where a test failed, and where a test file could not be imported
GOOD = ("killed", "same")


@dataclass(frozen=True)
class Mutant:
    """One change to one file. `tests` are arguments of pytest; `same` is why no test can tell, "" where one must."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    same: str = ""
    timeout: float = TIMEOUT

    def apply(self, root: Path) -> str:
        """Change the file below `root`, and return its text as it was.

        Raises:
          ValueError: `old` is not there exactly once, or the file would be no Python.
        """
        path = root / self.file
        text = path.read_text() if path.is_file() else ""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"the snippet occurs {count} times in {self.file}, expected once")
        changed = text.replace(self.old, self.new)
        try:
            compile(changed, self.file, "exec")
        except SyntaxError as error:
            raise ValueError(f"the change is not Python: {error}") from None
        path.write_text(changed)
        return text


@dataclass(frozen=True)
class Result:
    """What became of a mutant: "killed", "same", "survived", "stale" (its snippet or tests are gone); `why` says by what."""

    mutant: Mutant
    outcome: str
    why: str = ""
    seconds: float = 0.0


class TableError(Exception):
    """The table of mutants is not as it should be."""


def read(path: Path) -> tuple[list[Mutant], list[str]]:
    """mutants.toml -> its mutants, and the packages to preload.

    Raises:
      TableError: a name occurs twice, or an entry has neither tests nor a reason, or both.
    """
    table = tomllib.loads(path.read_text())
    try:
        mutants = [Mutant(**entry | {"tests": tuple(entry.get("tests", ()))}) for entry in table["mutant"]]
    except TypeError as error:
        raise TableError(f"{path}: {error}") from None
    names = [mutant.name for mutant in mutants]
    for mutant in mutants:
        if names.count(mutant.name) > 1:
            raise TableError(f"{path}: two mutants are called {mutant.name}")
        if bool(mutant.tests) == bool(mutant.same):
            raise TableError(f"{path}: {mutant.name} needs either tests that kill it, or in `same` why there can be none")
        if mutant.old == mutant.new:
            raise TableError(f"{path}: {mutant.name} changes nothing")
    return mutants, table.get("preload", [])


def choose(mutants: Sequence[Mutant], *, only: Sequence[str], sample: float, seed: int) -> list[Mutant]:
    """Those whose name matches one of the patterns, all where there are none; of them a random share, one at least.

    Raises:
      TableError: a pattern matches no name.
    """
    for pattern in only:
        if not fnmatch.filter([mutant.name for mutant in mutants], pattern):
            raise TableError(f"--only={pattern}: no mutant is called so")
    chosen = [mutant for mutant in mutants if not only or any(fnmatch.fnmatch(mutant.name, pattern) for pattern in only)]
    count = min(max(math.ceil(sample * len(chosen)), 1), len(chosen))
    picked = set(random.Random(seed).sample(range(len(chosen)), count))
    return [mutant for index, mutant in enumerate(chosen) if index in picked]


def copy_tree(root: Path, target: Path) -> None:
    """Copy what git tracks, and what it does not yet but would, from `root` to `target`."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, check=True, capture_output=True
    ).stdout.decode()
    for name in filter(None, listing.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


@dataclass
class Child:
    """A forked process that runs pytest in a copy; `finish` gives its exit status, or None after a timeout, and the failed test."""

    folder: Path  # the copy
    tests: Sequence[str]
    timeout: float
    stop_at_first: bool = True
    pid: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def report(self) -> Path:
        return self.folder.with_suffix(".json")

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def start(self) -> "Child":
        self.report.unlink(missing_ok=True)
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jax warns of forks; it has started no thread yet
            self.pid = os.fork()
        if not self.pid:
            self._run()
        return self

    def done(self) -> tuple[int | None, str] | None:
        """Exit status of pytest (None: it took too long) and the first test that failed; None while it runs."""
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended and time.monotonic() - self.started < self.timeout:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # it, or what it has left behind
        if not ended:
            os.waitpid(self.pid, 0)
            return None, ""
        failed = json.loads(self.report.read_text())["failed"] if self.report.is_file() else ""
        return os.waitstatus_to_exitcode(status), failed

    def _run(self) -> None:
        """In the child: run the tests and leave. Never returns."""
        status = 3
        try:
            os.setsid()
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(self.folder)
            os.environ["PYTHONPATH"] = str(self.folder)
            sys.path[:] = [str(self.folder), *(entry for entry in sys.path if Path(entry).resolve() != REPOSITORY / "tools")]
            import pytest

            failures = Failures()
            options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not slow", f"--basetemp={self.folder}.tmp"]
            status = int(pytest.main([*options, *(["-x"] if self.stop_at_first else []), *self.tests], plugins=[failures]))
            self.report.write_text(json.dumps({"failed": failures.first}))
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


class Failures:
    """A plugin of pytest that remembers the first test that failed, or the file that could not be imported."""

    first = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._note(report)

    def pytest_collectreport(self, report: Any) -> None:
        self._note(report)

    def _note(self, report: Any) -> None:
        if report.failed:
            self.first = self.first or report.nodeid


def verdict(mutant: Mutant, status: int | None, failed: str, seconds: float) -> Result:
    """pytest's exit status, None where it took too long -> Result."""
    if status is None:
        return Result(mutant, "killed", f"no answer in {mutant.timeout:.0f} s", seconds)
    if status in (FAILED, INTERRUPTED):
        return Result(mutant, "killed", failed, seconds)
    if status == 0:
        return Result(mutant, "survived", ", ".join(mutant.tests), seconds)
    if status < 0:
        return Result(mutant, "killed", f"ended by signal {-status}", seconds)
    return Result(mutant, "stale", f"pytest could not run {' '.join(mutant.tests)} (status {status})", seconds)


def run(mutants: Sequence[Mutant], copies: Sequence[Path]) -> Iterator[Result]:
    """Run each mutant, as many at a time as there are copies, and give their results as they come."""
    waiting, free = list(mutants), list(copies)
    running: dict[Path, tuple[Mutant, Child, str]] = {}
    while waiting or running:
        while waiting and free:
            mutant = waiting.pop(0)
            try:
                text = mutant.apply(free[-1])
            except ValueError as error:
                yield Result(mutant, "stale", str(error))
                continue
            copy = free.pop()
            if mutant.same:
                (copy / mutant.file).write_text(text)
                free.append(copy)
                yield Result(mutant, "same", mutant.same)
                continue
            running[copy] = mutant, Child(copy, mutant.tests, mutant.timeout).start(), text
        for copy, (mutant, child, text) in list(running.items()):
            ended = child.done()
            if ended is not None:
                (copy / mutant.file).write_text(text)
                del running[copy]
                free.append(copy)
                yield verdict(mutant, *ended, time.monotonic() - child.started)
        time.sleep(0.02)


def passes_unchanged(mutants: Sequence[Mutant], copy: Path) -> bool:
    """Whether the tests of these mutants pass where nothing has been changed; prints what fails."""
    tests = sorted({test for mutant in mutants for test in mutant.tests if (copy / test.partition("::")[0]).exists()})
    if not tests:
        return True
    child = Child(copy, tests, timeout=math.inf).start()
    while (ended := child.done()) is None:
        time.sleep(0.1)
    if ended[0] != 0:
        print(
            f"{child.log.read_text()[-4000:]}\nthe tests fail without a mutant: {ended[1] or f'status {ended[0]}'}", file=sys.stderr
        )
    return ended[0] == 0


def table(results: Sequence[Result]) -> str:
    """Markdown: one line per mutant, then how many there are of each outcome."""
    lines = ["| mutant | file | outcome | by | s |", "|---|---|---|---|---|"]
    lines += [f"| {r.mutant.name} | {r.mutant.file} | {r.outcome} | {r.why} | {r.seconds:.0f} |" for r in results]
    outcomes = [result.outcome for result in results]
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
    return "\n".join([*lines, "", f"{len(results)} mutants: {counts}"])


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(description="See that a test fails for every small change to the package.")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="these alone, * stands for anything; may be repeated"
    )
    parser.add_argument("--sample", type=float, default=1.0, metavar="SHARE", help="a random share, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the repository")
    parser.add_argument("--table", type=Path, metavar="FILE", help=f"default ROOT/{TABLE}")
    args = parser.parse_args(argv)
    try:
        mutants, preload = read(args.table or args.root / TABLE)
        mutants = choose(mutants, only=args.only, sample=args.sample, seed=args.seed)
    except TableError as error:
        parser.error(str(error))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("LFM_SHARED", str(args.root.resolve().parent / "shared"))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{scratch}/compiled")
        copies = [Path(scratch, f"copy{job}") for job in range(args.jobs)]
        for copy in copies:
            copy_tree(args.root, copy)
        for package in preload:
            importlib.import_module(package)
        if not passes_unchanged(mutants, copies[0]):
            return 2
        results = []
        for result in run(mutants, copies):
            results.append(result)
            print(f"{result.mutant.name}: {result.outcome}", file=sys.stderr)
    print(table(results))
    return int(any(result.outcome not in GOOD for result in results))


if __name__ == "__main__":
    sys.exit(main())
