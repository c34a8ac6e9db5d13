"""The report of `lfm data check` for people: what is here, what is wrong with it, what its formats give away.

In: the report, a dict as `check.check` makes it. Out: text, of which every figure stands in the report too.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from lfm_jax.data.audit.formats import FEATURES, MIN_PER_LABEL

NAMED_OF_A_KIND = 10  # the others are in check.json
SHOWN_OF_A_COUNT = 3
PLACE = ("split", "suite", "generator", "class")

SEPARATION = (
    "Average precision (AP) of a cross-validated decision tree that sees no pixel. chance: the share of fakes; luck: the AP that "
    f"one guess in twenty exceeds; -: under {MIN_PER_LABEL} images of a label."
)


def text(report: dict[str, Any]) -> str:
    """Report -> Markdown."""
    parts = [
        f"## {report['images']} images in {_plain(report['root'])}\n\n{_contents(report)}",
        f"## Problems\n\n{_findings(report['problems']) or 'none'}",
        f"## Notes\n\n{_findings(report['notes']) or 'none'}",
        f"## What formats are there\n\n{_formats(report)}",
        f"## What format alone can tell\n\n{SEPARATION}\n\n{_separation(report)}",
        "\n".join(f"- {place_name(row)}: {row['verdict']}." for row in report["format"] if row["ap"]),
    ]
    return "\n\n".join(part for part in parts if part)


def write(report: dict[str, Any], out: Path) -> None:
    """Report -> check.json and check.md in folder `out`."""
    versions = {name: version(name) for name in ("lfm_jax", "pillow", "scikit-learn")}
    (out / "check.json").write_text(json.dumps({**report, "versions": versions}, indent=1) + "\n")
    (out / "check.md").write_text(text(report) + "\n", encoding="utf-8")


def place_name(row: dict[str, Any]) -> str:
    return _plain("/".join(row[name] for name in PLACE if row[name]))


def _contents(report: dict[str, Any]) -> str:
    rows = []
    for row in report["groups"]:
        expected = " + ".join(map(str, row["expected"])) if row["expected"] else "-"
        rows.append([*_place_cells(row), row["real"], row["fake"], expected])
    return _table(rows, [*PLACE, "real", "fake", "expected"], numbers=3)


def _findings(findings: Sequence[dict[str, str]]) -> str:
    """By kind, the first few of each named."""
    lines = []
    for kind in dict.fromkeys(finding["kind"] for finding in findings):
        found = [finding for finding in findings if finding["kind"] == kind]
        lines.append(f"{kind}: {len(found)}")
        lines += [_plain(f"  {finding['where']}: {finding['what']}") for finding in found[:NAMED_OF_A_KIND]]
        if len(found) > NAMED_OF_A_KIND:
            lines.append(f"  ... and {len(found) - NAMED_OF_A_KIND} more")
    return "\n".join(lines)


def _formats(report: dict[str, Any]) -> str:
    rows = []
    for row in report["format"]:
        for label in ("real", "fake"):
            side = row[label]
            made = f", {side['not_ijg']} not IJG" if side["not_ijg"] else ""
            counts = [most(side[name]) for name in ("containers", "quality", "subsampling", "modes", "sizes")]
            counts[1] += made
            rows.append(
                [*_place_cells(row), label, side["images"], *counts, _spread(side["aspect"]), _spread(side["bytes_per_pixel"])]
            )
    heads = ["label", "images", "container", "JPEG quality", "subsampling", "mode", "size", "aspect", "bytes/pixel"]
    return _table(rows, [*PLACE, *heads], numbers=0)


def _separation(report: dict[str, Any]) -> str:
    rows = []
    for row in report["format"]:
        aps = [f"{row['ap'][name]:.3f}" if row["ap"] else "-" for name in FEATURES]
        luck = "-" if row["luck"] is None else f"{row['luck']:.3f}"
        rows.append([*_place_cells(row), row["real"]["images"], row["fake"]["images"], f"{row['chance']:.3f}", luck, *aps])
    return _table(rows, [*PLACE, "real", "fake", "chance", "luck", *FEATURES], numbers=4 + len(FEATURES))


def _place_cells(row: dict[str, Any]) -> list[str]:
    return [_plain(name) for name in (row["split"], row["suite"], row["generator"] or "(all)", row["class"])]


def _plain(text: str) -> str:
    """Names may hold line breaks, and bytes of no known encoding: those are shown as Python writes them."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _table(rows: list[list[Any]], heads: list[str], *, numbers: int) -> str:
    """Markdown table without the columns of PLACE that are empty throughout; the last `numbers` columns to the right."""
    kept = [index for index, head in enumerate(heads) if head not in PLACE or any(row[index] for row in rows)]
    align = ["right" if index >= len(heads) - numbers else "left" for index in kept]
    cells = [[row[index] for index in kept] for row in rows]
    return tabulate(cells, [heads[index] for index in kept], tablefmt="github", disable_numparse=True, colalign=align)


def most(counts: dict[str, int]) -> str:
    """The most frequent values, with their shares where there are several."""
    total = sum(counts.values())
    if len(counts) <= 1:
        return next(iter(counts), "")
    shown = list(counts.items())[:SHOWN_OF_A_COUNT]
    left = len(counts) - len(shown)
    return ", ".join(f"{value} {100 * count / total:.0f}%" for value, count in shown) + (f", {left} more" if left else "")


def _spread(spread: list[float] | None) -> str:
    """Least, median and most; one of them where they are alike."""
    if spread is None:
        return ""
    least, median, most = (f"{value:.2f}" for value in spread)
    return least if least == most else f"{least} .. {median} .. {most}"
