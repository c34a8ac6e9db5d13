"""Hold the headline figures that the documents print against those that a run has just given.

`python tools/check_figures.py RESULTS.json [FIGURES.json] [--run=main_job]` compares the output of `lfm train` or `lfm evaluate`
with docs/figures.json, in which every headline figure stands with the difference that is allowed between two runs, in percent:

    {"main_job": {"ap": {"value": 98.7, "within": 1.0}, "acc": {...}, "worst_ap": {...}},
     "main_job_generators": {"bicubic": {"ap": {...}, "acc": {...}}, ...}}

Figures are those of the suite's row; `worst_` ones are the smallest over its generators, which may have figures of their own. Below
FLOORS a run is refused whatever the documents say. Exit status 1 where a figure is off, each named with both values.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures.json"
FLOORS = {"ap": 95.0}  # percent
WORST = "worst_"


def printed(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Rows of results.json -> the figures of these names in percent.

    Raises:
      KeyError: a name that no row has.
    """
    suite = next(row for row in rows if row["level"] == "suite")
    generators = [row for row in rows if row["level"] == "generator"]

    def figure(name: str) -> float:
        if name.startswith(WORST):
            return min(row[name.removeprefix(WORST)] for row in generators)
        return suite[name]

    return {name: 100 * figure(name) for name in names}


def off_by(expected: Mapping[str, Mapping[str, float]], actual: Mapping[str, float], prefix: str = "") -> list[str]:
    """A line for each figure that is further off than it may be."""
    # `not (... <= ...)`, so that a figure which is no number is off, too.
    return [
        f"{prefix}{name} is {actual[name]:.1f}, the documents say {figure['value']:.1f} within {figure['within']:.1f}"
        for name, figure in expected.items()
        if not abs(actual[name] - figure["value"]) <= figure["within"]
    ]


def differences(figures: Mapping[str, Any], run: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the results of a run, one line per figure; empty where all agree.

    Raises:
      KeyError: the figures name a metric or a generator that the results do not have.
    """
    expected = figures[run]
    suite = printed(rows, [*expected, *(name for name in FLOORS if name not in expected)])
    off = off_by(expected, suite)
    off += [f"{name} is {suite[name]:.1f}, below {floor:.1f}" for name, floor in FLOORS.items() if not suite[name] >= floor]
    generators = {row["generator"]: row for row in rows if row["level"] == "generator"}
    for name, of_generator in figures.get(f"{run}_generators", {}).items():
        off += off_by(of_generator, {metric: 100 * generators[name][metric] for metric in of_generator}, f"{name}: ")
    return off


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and print the figures that agree or the ones that do not."""
    parser = argparse.ArgumentParser(description="Hold documented figures against those of a run.")
    parser.add_argument("results", type=Path, metavar="RESULTS.json")
    parser.add_argument("figures", type=Path, nargs="?", default=FIGURES, metavar="FIGURES.json")
    parser.add_argument("--run", default="main_job", help="which figures of the file, default main_job")
    args = parser.parse_args(argv)
    figures = json.loads(args.figures.read_text())
    rows = json.loads(args.results.read_text())["rows"]
    off = differences(figures, args.run, rows)
    for line in off:
        print(f"{args.run}: {line}", file=sys.stderr)
    if not off:
        shown = ", ".join(f"{name} {value:.1f}" for name, value in printed(rows, list(figures[args.run])).items())
        print(f"{args.run}: as documented: {shown}")
    return int(bool(off))


if __name__ == "__main__":
    sys.exit(main())
