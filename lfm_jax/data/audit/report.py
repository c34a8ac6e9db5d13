"""The report of `lfm data check` as people read it: what is there, what is wrong with it, what its formats give away.

Made from the dict that `check_folder` returns; every figure in the text is in that dict too.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from lfm_jax.data.audit.formats import FEATURES, MIN_PER_LABEL
from lfm_jax.runtime.paths import write_whole

NAMED_PER_KIND = 10  # findings; all are in check.json
NAMED_VALUES = 3  # of a count by value
PLACE = ("split", "suite", "generator", "class")

SEPARATION = (
    "Average precision (AP) of a cross-validated decision tree that sees no pixel. chance: the share of fakes; luck: the AP that "
    f"one guess in twenty exceeds; -: under {MIN_PER_LABEL} images with one of the labels."
)


def report_text(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    parts = [
        f"## {report['images']} images in {_plain(report['root'])}\n\n{_contents(report)}",
        f"## Problems\n\n{_findings(report['problems']) or 'none'}",
        f"## Notes\n\n{_findings(report['notes']) or 'none'}",
        f"## What formats are there\n\n{_formats(report)}" if report["format"] else "",
        f"## What format alone can tell\n\n{SEPARATION}\n\n{_separation(report)}" if report["format"] else "",
        "\n".join(f"- {place_name(row)}: {row['verdict']}." for row in report["format"] if row["ap"]),
        "\n".join(f"- {place_name(row)}: {_sampled(row)}." for row in report["format"] if "of" in row),
    ]
    return "\n\n".join(part for part in parts if part)


def write_report(report: dict[str, Any], out: Path) -> None:
    """Writes check.json and check.md into the folder `out`."""
    versions = {name: version(name) for name in ("lfm_jax", "pillow", "scikit-learn")}
    write_whole(out / "check.json", (json.dumps({**report, "versions": versions}, indent=1) + "\n").encode())
    write_whole(out / "check.md", (report_text(report) + "\n").encode())


def place_name(row: dict[str, Any]) -> str:
    return _plain("/".join(row[name] for name in PLACE if row[name]))


def _contents(report: dict[str, Any]) -> str:
    rows = []
    for row in report["groups"]:
        expected = " + ".join(map(str, row["expected"])) if row["expected"] else "-"
        rows.append([*_place_cells(row), row["real"], row["fake"], expected])
    return _table(rows, [*PLACE, "real", "fake", "expected"], numbers=3)


def _findings(findings: Sequence[dict[str, str]]) -> str:
    """Findings by kind, with the first few of each kind."""
    lines = []
    for kind in dict.fromkeys(finding["kind"] for finding in findings):
        of_kind = [finding for finding in findings if finding["kind"] == kind]
        lines.append(f"{kind}: {len(of_kind)}")
        lines += [_plain(f"  {finding['where']}: {finding['what']}") for finding in of_kind[:NAMED_PER_KIND]]
        if len(of_kind) > NAMED_PER_KIND:
            lines.append(f"  ... and {len(of_kind) - NAMED_PER_KIND} more")
    return "\n".join(lines)


def _formats(report: dict[str, Any]) -> str:
    rows = []
    for row in report["format"]:
        for label in ("real", "fake"):
            formats = row[label]
            counts = [most(formats[name]) for name in ("containers", "quality", "subsampling", "modes", "sizes")]
            if formats["not_ijg"]:
                counts[1] += f", {formats['not_ijg']} not IJG"
            ranges = [_range_text(formats[name]) for name in ("aspect", "bytes_per_pixel")]
            rows.append([*_place_cells(row), label, formats["images"], *counts, *ranges])
    heads = ["label", "images", "container", "JPEG quality", "subsampling", "mode", "size", "aspect", "bytes/pixel"]
    return _table(rows, [*PLACE, *heads], numbers=0)


def _sampled(row: dict[str, Any]) -> str:
    shares = [f"of {row[label]['images']} of {of} {label}" for label, of in zip(("real", "fake"), row["of"], strict=True)]
    return f"formats {' and '.join(shares)} images, as there are so many"


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
    """Names may hold line breaks and bytes in no known encoding; these are shown as Python writes them."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _table(rows: list[list[Any]], heads: list[str], *, numbers: int) -> str:
    """A Markdown table without those columns of PLACE that are all empty; the last `numbers` columns are right-aligned."""
    used = [index for index, head in enumerate(heads) if head not in PLACE or any(row[index] for row in rows)]
    align = ["right" if index >= len(heads) - numbers else "left" for index in used]
    cells = [[row[index] for index in used] for row in rows]
    return tabulate(cells, [heads[index] for index in used], tablefmt="github", disable_numparse=True, colalign=align)


def most(counts: dict[str, int]) -> str:
    """The most frequent values, with their shares if there are several."""
    total = sum(counts.values())
    if len(counts) <= 1:
        return next(iter(counts), "")
    frequent = list(counts.items())[:NAMED_VALUES]
    others = len(counts) - len(frequent)
    return ", ".join(f"{value} {100 * count / total:.0f}%" for value, count in frequent) + (f", {others} more" if others else "")


def _range_text(min_median_max: list[float] | None) -> str:
    """Minimum, median and maximum; a single number if they are the same."""
    if min_median_max is None:
        return ""
    low, median, high = (f"{value:.2f}" for value in min_median_max)
    return low if low == high else f"{low} .. {median} .. {high}"
