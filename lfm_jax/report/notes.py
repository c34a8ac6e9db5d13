"""Footnotes of a report's tables: where an interval does not mean what it seems to, or a figure is not there.

In: rows of results of one cell. Out: rows with `marks`, and the words of those marks.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

FEW = 30  # images of a label
WORDS = {
    # Two normals two deviations apart, 400 draws: 82 and 77 of 100 intervals of ACC and AP hold the truth at 10 a label,
    # 92 and 90 at 30, 92 and 94 at 100.
    "a": f"Fewer than {FEW} images of a label: its interval is too narrow (with 10 of each label about 80 in 100 hold the true "
    "value, not 95).",
    "b": "An interval of no width is no certainty: every resample gives the same value, because of each label all or none are "
    "called right, or the ranking is perfect. Where none of n images is wrong, up to about 3 in n of others may be.",
    "c": "Not defined, as images of a label are missing.",
}


def marked(rows: Sequence[Mapping[str, Any]], metrics: Collection[str], *, with_interval: Collection[str]) -> list[dict[str, Any]]:
    """Rows of one cell -> the same with `marks`: metric -> letter of WORDS, and "name" -> "a" where images are few."""
    few = {(row["suite"], row["generator"]) for row in rows if row["level"] == "generator" and _few(row)}
    few |= {(suite, "mean") for suite, _ in few} | {("all", "mean")} if few else set()
    found = []
    for row in rows:
        marks = {name: letter for name in metrics if (letter := _letter(row, name, with_interval))}
        found.append({**row, "marks": marks | ({"name": "a"} if (row["suite"], row["generator"]) in few else {})})
    return found


def below(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Rows with `marks` -> letter and words of those that occur."""
    letters = sorted({letter for row in rows for letter in row["marks"].values()})
    return {letter: WORDS[letter] for letter in letters}


def _few(row: Mapping[str, Any]) -> bool:
    return min(row["n_real"], row["n_fake"]) < FEW


def _letter(row: Mapping[str, Any], name: str, with_interval: Collection[str]) -> str:
    if row[name] is None:
        return "c"
    ends = row.get("interval", {}).get(name) if name in with_interval else None
    return "b" if ends and ends[0] == ends[1] else ""
