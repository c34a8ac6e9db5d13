"""The rows of benchmarks/gpu.py, each printed and written to a file at once: a machine that is taken away costs none."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from lfm_jax.bench.rows import HEADS, Row
from lfm_jax.runtime.paths import write_whole
from lfm_jax.runtime.timing import Timing

ROUNDS, CALLS = 3, 8  # at least, and batches per round: what is waited for at its end then weighs little


class Table:
    """Rows by section, and what else was found out, in a JSON file.

    Args:
      out: the file; None keeps everything in memory.
      seconds: from now until `time_left` is gone.
    """

    def __init__(self, out: Path | None, *, seconds: float):
        self.out, self._end, self._start = out, time.monotonic() + seconds, time.monotonic()
        self.rows: list[Row] = []
        self.facts: dict[str, Any] = {}
        self._sections: list[str] = []

    @property
    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def add(self, section: str, row: Row) -> None:
        self.rows.append(row)
        self._sections.append(section)
        print(f"{time.monotonic() - self._start:5.0f} s  {section}: {' | '.join(row.cells())}", flush=True)
        self.write()

    def note(self, name: str, value: Any) -> None:
        """Enters something that is not a row."""
        self.facts[name] = value
        self.write()

    def write(self) -> None:
        if self.out:
            rows = [{"section": name, **row.to_json()} for name, row in zip(self._sections, self.rows, strict=True)]
            write_whole(self.out, (json.dumps({**self.facts, "rows": rows}, indent=1) + "\n").encode())

    def beside(self, name: str) -> Path | None:
        """The path of a further file that belongs to this table."""
        return self.out.with_name(f"{self.out.stem}_{name}") if self.out else None

    def __str__(self) -> str:
        return tabulate([row.cells() for row in self.rows], HEADS, tablefmt="github", disable_numparse=True)


def timed(run: Callable[[int], object], *, seconds: float) -> Timing:
    """The seconds per batch of run(count), which makes `count` batches and waits for them; for 0 seconds it is run once."""
    timing = Timing()
    run(2)
    end = time.perf_counter() + seconds
    rounds, calls = (ROUNDS, CALLS) if seconds else (1, 1)
    while len(timing.seconds) < rounds or time.perf_counter() < end:
        start = time.perf_counter()
        run(calls)
        timing.seconds.append((time.perf_counter() - start) / calls)
    return timing
