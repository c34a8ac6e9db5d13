"""Progress that fits where it is shown: a bar in a terminal, a plain line now and then in a log or a notebook. On stderr."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
_silent = False


def only_here(here: bool) -> None:
    """Of several processes, one shows progress: `here` says whether it is this one."""
    global _silent
    _silent = not here


SECONDS_BETWEEN_LINES = 15.0


def progress(items: Iterable[T], *, total: int, what: str, unit: str = "image", done: int = 0, lines: bool = True) -> Iterator[T]:
    """Pass `items` on, showing how many of `total` have come by (`done` of them before this call).

    `lines` False: a bar or nothing, for a loop that writes lines of its own.
    """
    if _silent:
        yield from items
        return
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, initial=done, desc=what, unit=unit, dynamic_ncols=True)
        return
    start = shown = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if lines and now - shown >= SECONDS_BETWEEN_LINES:
            shown = now
            say(f"{what}: {done + count}/{total} {unit}s, {count / (now - start):.1f}/s")


def say(line: str) -> None:
    """One line on stderr, above the bar if there is one. In a notebook on stdout: there stderr has the looks of an error."""
    if not _silent:
        in_notebook = type(sys.stderr).__module__.startswith("ipykernel")
        tqdm.write(line, file=sys.stdout if in_notebook else sys.stderr)
