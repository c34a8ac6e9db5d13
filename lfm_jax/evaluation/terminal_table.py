"""The table of an evaluation as wide as a terminal: what is the same in all rows is said once above it.

Figures and their intervals keep their digits. Where columns do not fit, those that say least are left out and named below;
table.md and results.json have them all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from lfm_jax.evaluation.metrics import HEADLINE, Metric, columns
from lfm_jax.evaluation.tables import averages_some, bootstrap_note
from lfm_jax.inference.answers import shortened, wrapped
from lfm_jax.runtime.terminal import printable

GAP = 2  # columns of the terminal between those of the table
LEAST_NAME = 20  # a generator's name is shortened to this before a metric is left out
SAYS_LEAST = ("auc", "eer", "acc_at_threshold")  # left out first, in this order
Row = Mapping[str, Any]
Columns = dict[str, list[str]]  # heading -> its cells


def terminal_table(rows: Sequence[Row], width: int) -> str:
    """Rows of results -> what is the same in all of them, a table in percent of at most `width` columns, what was left out."""
    if not rows:
        return "No image could be scored."
    thresholds = {row["threshold"]: row["oracle"] for row in rows if "threshold" in row}
    metrics = columns(fitted=any(threshold != 0.5 for threshold in thresholds))
    shared = {name: str(rows[0][name]) for name in ("weights", "protocol", "view") if len({row[name] for row in rows}) == 1}
    suites = list(dict.fromkeys(row["suite"] for row in rows if row["level"] != "overall" and row["suite"] != "all"))
    names = [row["generator"] if len(suites) == 1 else f"{row['suite']}/{row['generator']}" for row in rows]
    before = {name: [printable(row[name]) for row in rows] for name in ("weights", "protocol", "view") if name not in shared}
    counts = {"real": [str(row["n_real"]) for row in rows], "fake": [str(row["n_fake"]) for row in rows]}
    figures = {name: _column(rows, name, metric, one_threshold=len(thresholds) == 1) for name, metric in metrics.items()}
    left_out = []
    while _room(before | counts, figures, metrics, width) < min(max(map(len, names)), LEAST_NAME):
        spare = [name for name in SAYS_LEAST if name in figures] or [name for name in reversed(figures) if name not in HEADLINE]
        if not spare:
            break
        left_out.append(metrics[spare[0]].heading)
        del figures[spare[0]]
    room = max(_room(before | counts, figures, metrics, width), 1)
    first = {"generator": [shortened(printable(name), room) for name in names]}
    table = {**before, **first, **counts, **{metrics[name].heading: cells for name, cells in figures.items()}}
    align = ["left"] * (len(before) + 1) + ["right"] * (len(counts) + len(figures))
    # Headings as rows of their own: tabulate would make each column two wider than its heading.
    heads = [_two_lines(heading) for heading in table]
    rules = ["-" * max(map(len, (*_two_lines(heading), *cells))) for heading, cells in table.items()]
    body = [*zip(*heads, strict=True), rules, *zip(*table.values(), strict=True)]
    text = tabulate(body, tablefmt="plain", disable_numparse=True, colalign=align)
    lines = [wrapped(_above(shared, suites, thresholds, metrics), width), text]
    if left_out:
        lines.append(wrapped(f"Left out, as this terminal is too narrow: {', '.join(left_out)}. --out=DIR keeps them.", width))
    if note := bootstrap_note(rows):
        lines.append(wrapped(note, width))
    return "\n\n".join(lines)


def _above(
    shared: Mapping[str, str], suites: Sequence[str], thresholds: Mapping[float, bool], metrics: Mapping[str, Metric]
) -> str:
    """What holds for all rows: "Weights 0123, crop256, as_is, suite ForenSynths. In percent, with 95 % intervals."."""
    parts = [f"{name} {printable(value)}" for name, value in shared.items()]
    parts += [f"suite {printable(suites[0])}"] if len(suites) == 1 else []
    if len(thresholds) == 1 and any(metric.at_threshold for metric in metrics.values()):
        ((threshold, oracle),) = thresholds.items()
        parts.append(f"threshold {threshold:.3f}{' (oracle)' * oracle}")
    said = f"{', '.join(parts)}. " if parts else ""
    return f"{said[:1].upper()}{said[1:]}In percent, with 95 % intervals."


def _column(rows: Sequence[Row], name: str, metric: Metric, *, one_threshold: bool) -> list[str]:
    return [_figure(row, name, metric, one_threshold=one_threshold) for row in rows]


def _figure(row: Row, name: str, metric: Metric, *, one_threshold: bool) -> str:
    """ "93.1 90.2-95.4", "93.1 ± 0.4", "93.1 at 0.731 (oracle)"; a mean over some generators as "93.1 (1 of 3)"."""
    text = metric.text(row[name])
    if row.get("deviation", {}).get(name) is not None:
        text += f" ± {metric.text(row['deviation'][name])}"
    elif metric.interval and (ends := row.get("interval", {}).get(name)):
        text += f" {'-'.join(map(metric.text, ends))}"
    if metric.at_threshold and "threshold" in row and not one_threshold:
        text += f" at {row['threshold']:.3f}{' (oracle)' * row['oracle']}"
    if averages_some(row, name):
        text += f" ({row['averaged'][name]} of {row['generators']})"
    return text


def _two_lines(heading: str) -> tuple[str, str]:
    """ "ACC at threshold" -> "ACC at", "threshold": a column is hardly wider than its figures."""
    upper, _, lower = heading.rpartition(" ")
    return upper, lower


def _room(others: Columns, figures: Columns, metrics: Mapping[str, Metric], width: int) -> int:
    """What these columns leave for the names."""
    cells = [(heading, *column) for heading, column in others.items()]
    cells += [(*_two_lines(metrics[name].heading), *column) for name, column in figures.items()]
    return width - sum(max(map(len, column)) + GAP for column in cells)
