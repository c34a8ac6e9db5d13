"""Progress on stderr, in the form that suits the place: a bar in a terminal, an occasional line in a log or a notebook."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from lfm_jax.runtime.terminal import printable_lines

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 15.0
_silent = False


def only_here(here: bool) -> None:
    """Silence this process unless `here`: one of several processes shows progress for all."""
    global _silent
    _silent = not here


def progress(
    items: Iterable[T], *, total: int | None, what: str, unit: str = "image", done: int = 0, lines: bool = True
) -> Iterator[T]:
    """Yield `items`, showing how many of `total` have passed.

    Args:
      items: what to count.
      total: how many there are in all, None if that is not known yet.
      what: name of the work, in front of the bar or line.
      unit: what is counted, in the singular.
      done: how many had passed before this call.
      lines: whether to write lines where there is no terminal; False for a loop that writes its own.
    """
    if _silent:
        yield from items
        return
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, initial=done, desc=what, unit=unit, dynamic_ncols=True)
        return
    start = last_line = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if lines and now - last_line >= SECONDS_BETWEEN_LINES:
            last_line = now
            say(f"{what}: {done + count}{'' if total is None else f'/{total}'} {unit}s, {count / (now - start):.1f}/s")


def say(line: str) -> None:
    """Write one line to stderr, above any progress bar; in a notebook to stdout, because stderr looks like an error there."""
    if not _silent:
        in_notebook = type(sys.stderr).__module__.startswith("ipykernel")
        tqdm.write(printable_lines(line), file=sys.stdout if in_notebook else sys.stderr)
