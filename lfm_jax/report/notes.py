"""Footnotes of a report's tables: where an interval means less than it seems to, or a figure is missing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lfm_jax.evaluation.metrics import Metric
from lfm_jax.evaluation.tables import BINNED, averages_some

FEW = 30  # images of a label
WORDS = {
    # Two normals two deviations apart, 400 draws: of 100 intervals of ACC and AP, 82 and 77 hold the truth with 10 images of
    # each label, 92 and 90 with 30, 92 and 94 with 100.
    "a": f"Fewer than {FEW} images of a label: the interval is too narrow (with 10 of each label, about 80 in 100 hold the true "
    "value, not 95).",
    "b": "An interval without width is not certainty: every resample gives the same value, because all or none of each label's "
    "images are called correctly, or because the ranking is perfect. If none of n images is wrong, up to about 3 in n of "
    "further images may still be.",
    "c": "Not defined, because images of one label are missing.",
    "d": "The mean of those generators only that have images of both labels, as the others have no such figure; the pooled row is "
    "over all images together.",
    "e": "No interval: resamples repeat some images and miss others, which moves this figure to one side; with few images of a "
    "label, or nearly all ranked wrongly, they do not reach the figure itself.",
    "f": BINNED,
}


def marked(rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Metric]) -> list[dict[str, Any]]:
    """Adds `marks` to the rows of one cell: the letter of WORDS for each metric, and for "name" if images are few, or very many."""
    few = {(row["suite"], row["generator"]) for row in rows if row["level"] == "generator" and _few(row)}
    few |= {(suite, "mean") for suite, _ in few} | {("all", "mean")} if few else set()
    few |= {(row["suite"], row["generator"]) for row in rows if row["level"] == "pooled" and _few(row)}
    with_marks = []
    for row in rows:
        marks = {name: letter for name, metric in metrics.items() if (letter := _letter(row, name, metric))}
        if (row["suite"], row["generator"]) in few:
            marks["name"] = "a"
        elif "bootstrap" in row:
            marks["name"] = "f"
        with_marks.append({**row, "marks": marks})
    return with_marks


def below(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Rows with `marks` -> the letters that occur, with their words."""
    letters = sorted({letter for row in rows for letter in row["marks"].values()})
    return {letter: WORDS[letter] for letter in letters}


def _few(row: Mapping[str, Any]) -> bool:
    return min(row["n_real"], row["n_fake"]) < FEW


def _letter(row: Mapping[str, Any], name: str, metric: Metric) -> str:
    if row[name] is None:
        return "c"
    if averages_some(row, name):
        return "d"
    if not metric.interval or "interval" not in row:
        return ""
    ends = row["interval"].get(name)
    if ends is None:
        return "e"
    return "b" if ends[0] == ends[1] else ""
