"""What compilers make of the programs for devices that are not here: the table of docs/performance.md.

python benchmarks/compiled.py [--only=h100] [--json=FILE]     # pip install -e '.[gpu-compile,tpu]'; 20 minutes on two cores

Nothing runs. GB are operands and results of each instruction, an upper bound on what is moved; ms are the TPU compiler's own
estimate. "first" is the first version of this project; "least" and "aim" are what was asked for.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout that is not installed

from tabulate import tabulate

from lfm_jax import presets
from lfm_jax.training import aot


class Task(NamedTuple):
    """A program to compile: which one, for which devices, with how many images per device."""

    what: str
    topology: str
    devices: int
    per_device: int
    slices: int = 1


class Figure(NamedTuple):
    """A figure of a compiled program, what it was in the first version, what was asked for, and what it is now."""

    task: Task
    name: str
    of: Callable[[aot.Program], float]
    first: float | None
    least: float | None
    aim: float | None
    now: float


def moved(program: aot.Program) -> float:
    return program.moved / 1e9


def temporaries(program: aot.Program) -> float:
    return program.temporaries / aot.MIB


def milliseconds(program: aot.Program) -> float:
    return 1e3 * program.cycles / aot.CLOCK["TPU v5 lite"]


def all_reduces(program: aot.Program) -> float:
    return program.collectives["all-reduce"][0]


H100, H100_SCORE = (Task(what, "h100:1", 1, 256) for what in ("train", "score"))
V5E, V5E_SCORE = Task("train", "v5e:2x2", 4, 256), Task("score", "v5e:2x2", 4, 128)
FIGURES = (
    Figure(H100, "GB", moved, 69.3, 30, 20, 17.5),
    Figure(H100, "MiB of temporaries", temporaries, 7417, 4100, 3000, 2662),
    Figure(H100_SCORE, "GB", moved, 10.8, 8, 5.8, 5.88),
    Figure(Task("train", "h100:8", 8, 32), "all-reduces", all_reduces, 17, 9, 3, 8),
    Figure(V5E, "ms", milliseconds, 335, 80, 60, 59.2),
    Figure(V5E, "MiB of temporaries", temporaries, 8242, 3800, 3000, 3554),
    Figure(V5E, "all-reduces", all_reduces, 17, 9, 3, 8),
    Figure(V5E_SCORE, "ms", milliseconds, 244, 20, 14, 12.6),
    Figure(Task("train", "a100:1", 1, 256), "GB", moved, None, None, None, 17.5),
    Figure(Task("train", "h200:1", 1, 256), "GB", moved, None, None, None, 17.5),
)


@cache
def compiled(task: Task) -> aot.Program:
    """The program of the preset made for such devices, with so many images of its usual size on each."""
    config = presets.load_config("tpu_v5e" if task.topology.startswith("v") else "gpu8")
    config.batch_size = config.eval.batch_size = task.per_device * task.devices * task.slices
    compilation = aot.compile_for(config, task.topology, slices=task.slices, what=[task.what])
    return next(iter(compilation.programs.values()))


def rows(figures: tuple[Figure, ...]) -> Iterator[list[str | float | None]]:
    """Compile and measure: name, first version, at least, aim, as last written down, measured."""
    for figure in figures:
        task = figure.task
        slices = f"{task.slices} x " if task.slices > 1 else ""
        name = f"{task.what}, {task.per_device} images per device on {slices}{task.topology}: {figure.name}"
        yield [name, figure.first, figure.least, figure.aim, figure.now, round(figure.of(compiled(task)), 2)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="topologies that begin so")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    measured = []
    for row in rows(tuple(figure for figure in FIGURES if figure.task.topology.startswith(args.only))):
        measured.append(row)
        print(row[0], row[-1], flush=True)
    print("\n" + tabulate(measured, ["", "first", "least", "aim", "written down", "now"], tablefmt="github"))
    if args.json:
        args.json.write_text(json.dumps(measured, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
