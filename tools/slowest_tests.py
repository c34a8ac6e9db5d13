"""Name the slowest tests of one or several pytest runs: `python tools/slowest_tests.py [--count=10] JUNIT.xml ...`.

Reads the files that `pytest --junitxml=FILE` writes and prints one line per test, slowest first: seconds, stage (the name of
the file), test. A test's time includes the fixtures that it was the first to ask for. Files that are missing or cut short, as
after a stage that failed, are passed over.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree


class Timed(NamedTuple):
    """One test of one run."""

    seconds: float
    stage: str
    name: str


def read(path: Path) -> list[Timed]:
    """The tests of one JUnit file; none where it cannot be read."""
    try:
        cases = ElementTree.parse(path).iter("testcase")
        return [Timed(float(case.get("time", 0)), path.stem, f"{case.get('classname')}::{case.get('name')}") for case in cases]
    except (OSError, ElementTree.ParseError):
        return []


def slowest(paths: Sequence[Path], count: int) -> list[Timed]:
    """The `count` slowest tests of all files, slowest first."""
    return sorted((test for path in paths for test in read(path)), reverse=True)[:count]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Name the slowest tests of pytest runs.")
    parser.add_argument("files", nargs="+", type=Path, metavar="JUNIT.xml")
    parser.add_argument("--count", type=int, default=10)
    args = parser.parse_args(argv)
    for test in slowest(args.files, args.count):
        print(f"{test.seconds:7.1f} s  {test.stage:<8} {test.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
