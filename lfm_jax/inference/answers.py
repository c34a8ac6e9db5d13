"""Answers of many images for people: a table as wide as the terminal, what its words mean, and a line that counts them."""

import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any, TextIO

from tabulate import tabulate
from wcwidth import wcswidth, wcwidth

from lfm_jax.data import protocols
from lfm_jax.data.listing import Passed
from lfm_jax.inference.verdict import ANSWERS, NONE, NOT_PROOF, UNKNOWN
from lfm_jax.runtime.terminal import printable

HEADS = ("image", "answer", "score", "size", "why")
ALIGNED = ("left", "left", "right", "right", "left")
GAPS = 2 * (len(HEADS) - 1)  # columns of the terminal between those of the table
SHORTEST_NAME = 12
NOTES = 6  # longest list of explanations below a table

Record = dict[str, Any]


def answers_table(scored: Sequence[Record], *, width: int | None = None) -> str:
    """One row per image. With a `width`, names go without their common folder and are shortened in the middle, to fit it."""
    rows = [
        [
            printable(record["path"]),
            record["verdict"],
            f"{record['score']:.3f}",
            f"{record['width']} x {record['height']}",
            record["why"],
        ]
        for record in scored
    ]
    if width:
        others = sum(max(len(row[column]) for row in [HEADS, *rows]) for column in range(1, len(HEADS))) + GAPS
        room = max(width - others, SHORTEST_NAME)
        below = len(common_folder([name for name, *_ in rows])) if any(_columns(name) > room for name, *_ in rows) else 0
        rows = [[shortened(name[below:], room), *rest] for name, *rest in rows]
    return tabulate(rows, HEADS, tablefmt="simple", disable_numparse=True, colalign=ALIGNED)


def common_folder(names: Sequence[str]) -> str:
    """The longest folder that all names begin with, with its slash; "" if there is none."""
    shared = os.path.commonprefix(names)  # noqa: RUF071  # cut at a slash below; commonpath refuses mixed paths
    return shared[: shared.rfind("/") + 1]


def shortened(name: str, room: int) -> str:
    """The name with its middle left out where it takes more than `room` columns; its end, which tells files apart, keeps more."""
    if _columns(name) <= room:
        return name
    tail = _fitting(name[::-1], (room - 1) * 2 // 3)[::-1]
    return f"{_fitting(name, room - 1 - _columns(tail))}\u2026{tail}"


def summary(scored: Sequence[Record], failed: Sequence[Record], passed: Passed) -> str:
    """How many images got each answer, and what became of the other files, in one line."""
    counts = Counter(record["verdict"] for record in scored)
    parts = [f"{counts[answer]} {answer}" for answer in ANSWERS if counts[answer]]
    doubts = Counter(kind_of_doubt(record) for record in scored if record["verdict"] == UNKNOWN)
    if doubts:
        parts[-1] += f" ({', '.join(f'{count} {why}' for why, count in doubts.most_common())})"
    parts += [f"{len(failed)} could not be scored"] if failed else []
    parts += [f"{passed.total()} skipped ({passed})"] if passed else []
    return f"{', '.join(parts)}."


def remarks(scored: Sequence[Record]) -> list[str]:
    """What a reader of the table should know, each thing once: how images were looked at, and what answers rest on."""
    if not scored:
        return []
    first = scored[0]
    lines = [
        f"Looked at under {first['protocol']}: {protocols.parse(first['protocol']).words()} Threshold {first['threshold']:.3g}."
    ]
    if any(record["verdict"] == NONE for record in scored):
        lines.append(f'"{NONE}": {NOT_PROOF[0].lower()}{NOT_PROOF[1:]}')
    grounds: dict[str, str] = {}
    for record in scored:
        if record["why"]:
            grounds.setdefault(kind_of_doubt(record), record["reasons"][1 if len(record["reasons"]) > 1 else 0])
    lines += [f'"{why}": {reason}' for why, reason in list(grounds.items())[:NOTES]]
    return lines


def write_answers(
    scored: Sequence[Record], failed: Sequence[Record], passed: Passed, out: TextIO, *, width: int | None = None
) -> None:
    """The table with its remarks and the summary line."""
    if scored:
        print(f"{answers_table(scored, width=width)}\n", file=out)
    for line in [*remarks(scored), summary(scored, failed, passed)]:
        print(wrapped(line, width), file=out)


def terminal_width(out: TextIO | None) -> int | None:
    """Columns of the terminal that `out` writes to; None for a file, a pipe or nothing, where nothing is shortened."""
    return shutil.get_terminal_size().columns if out and out.isatty() else None


def wrapped(text: str, width: int | None) -> str:
    """Text in lines of at most `width` columns."""
    return "\n".join(textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)) if width else text


def kind_of_doubt(record: Record) -> str:
    """Why an answer is not plain, without figures that differ from image to image."""
    words = record["why"].split(" % ")
    return "too little looked at" if words[-1] == "looked at" else record["why"]


def _columns(text: str) -> int:
    width: int = wcswidth(text)
    return width if width >= 0 else len(text)


def _fitting(text: str, room: int) -> str:
    """The longest beginning of the text that takes at most `room` columns."""
    taken = 0
    for place, character in enumerate(text):
        taken += max(wcwidth(character), 0)
        if taken > room:
            return text[:place]
    return text
