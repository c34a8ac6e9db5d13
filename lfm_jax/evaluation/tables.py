"""Rows of results: every metric with its interval for each generator, each suite and overall, and a table of them.

Rows are plain dicts, written to results.json unchanged. A row belongs to one cell (one set of weights under one protocol
and view); rows of different cells are never averaged.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from lfm_jax.evaluation.bootstrap import interval, resamples
from lfm_jax.evaluation.metrics import METRICS, Metric, columns, detection_metrics, plain, weighted_metrics

Row = dict[str, Any]
Resampled = Mapping[str, np.ndarray]  # metric -> its values over the resamples [R]


def cell_rows(
    predictions: Sequence[Mapping[str, Any]], cell: Mapping[str, str], *, threshold: float, temperature: float, oracle: bool = False
) -> list[Row]:
    """The rows of one cell: its generators, then its suites, then all of them together.

    A generator's metrics are over all its images. A suite's row is the unweighted mean of its generators; beside it stand
    the mean weighted by images and the generator with the lowest AP. `all` is the same over all generators.

    Args:
      predictions: dicts with suite, generator, label and logit.
      cell: names that every row repeats.
      threshold, temperature: of the weights.
      oracle: the threshold was fitted on test images, which rows and tables then say.
    """
    resampled: dict[tuple[str, str], Resampled] = {}
    common = {**cell, "threshold": threshold, "oracle": oracle}
    generators: list[Row] = []
    for (suite, generator), members in grouped(predictions, lambda p: (p["suite"], p["generator"])).items():
        labels, logits = (np.array([p[name] for p in members]) for name in ("label", "logit"))
        options = {"threshold": threshold, "temperature": temperature}
        point = detection_metrics(labels, logits, **options)
        weights = resamples(labels, name=f"{suite}/{generator}")
        values = resampled[suite, generator] = weighted_metrics(labels, logits, weights, **options)
        names = {"level": "generator", "suite": suite, "generator": generator}
        generators.append({**common, **names, **point, "interval": {name: interval(values[name]) for name in METRICS}})

    def mean_row(level: str, suite: str, rows: Sequence[Row]) -> Row:
        names = {**common, "level": level, "suite": suite, "generator": "mean"}
        return names | _means(rows, [resampled[row["suite"], row["generator"]] for row in rows])

    by_suite = grouped(generators, lambda row: (row["suite"],))
    suites = [mean_row("suite", suite, rows) for (suite,), rows in by_suite.items()]
    overall = [mean_row("overall", "all", generators)] if len(suites) > 1 else []
    return generators + suites + overall


def _means(rows: Sequence[Row], resampled: Sequence[Resampled]) -> Row:
    """Each metric over the rows that define it. Generators are resampled independently, so their mean is, too."""
    counts = {name: sum(row[name] for row in rows) for name in ("n_real", "n_fake")}
    means, intervals, weighted = {}, {}, {}
    for name in METRICS:
        defined = [index for index, row in enumerate(rows) if row[name] is not None]
        values = [rows[index][name] for index in defined]
        images = [rows[index]["n_real"] + rows[index]["n_fake"] for index in defined]
        means[name] = plain(np.mean(values)) if defined else None
        weighted[name] = plain(np.average(values, weights=images)) if defined else None
        intervals[name] = interval(np.mean([resampled[index][name] for index in defined], axis=0)) if defined else None
    ranked = [row for row in rows if row["ap"] is not None]
    worst = min(ranked, key=lambda row: row["ap"])["generator"] if ranked else None
    return {**counts, **means, "interval": intervals, "weighted": weighted, "worst": worst}


def seed_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows of several weights -> the mean over the weights for each group, with the sample deviation (n - 1)."""
    same = ("protocol", "view", "level", "suite", "generator")
    means = []
    for names, group in grouped(rows, lambda row: tuple(row[name] for name in same)).items():
        values = {name: [row[name] for row in group if row[name] is not None] for name in METRICS}
        row: Row = {"weights": f"mean of {len(group)}", **dict(zip(same, names, strict=True))}
        row |= {name: group[0][name] for name in ("n_real", "n_fake")}
        row |= {name: plain(np.mean(known)) if known else None for name, known in values.items()}
        row["deviation"] = {name: plain(np.std(known, ddof=1)) if len(known) > 1 else None for name, known in values.items()}
        means.append(row)
    return means


def markdown(rows: Sequence[Row]) -> str:
    """Rows -> Markdown table, in percent, with 95 % intervals or deviations.

    Weights and view have columns where rows differ in them, ACC at threshold where a threshold is not 0.5.
    """
    varying = [name for name in ("weights", "view") if len({row[name] for row in rows}) > 1]
    names = ["protocol", *varying, "suite", "generator"]
    metrics = columns(fitted=any(row.get("threshold", 0.5) != 0.5 for row in rows))
    heads = [*names, "real", "fake", *(metric.heading for metric in metrics.values())]
    lines = [
        [*(row[name] for name in names), row["n_real"], row["n_fake"], *(_figure(row, name, metrics[name]) for name in metrics)]
        for row in rows
    ]
    align = ["left"] * len(names) + ["right"] * (len(heads) - len(names))
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=align)


def _figure(row: Row, name: str, metric: Metric) -> str:
    """ "93.1 [90.2, 95.4]", "93.1 ± 0.4" or "93.1 at 0.731 (oracle)"; a mean over several weights has several thresholds."""
    text = metric.text(row[name])
    if row.get("deviation", {}).get(name) is not None:
        text += f" ± {metric.text(row['deviation'][name])}"
    elif metric.interval and row.get("interval", {}).get(name):
        text += bracket(metric, row["interval"][name])
    if metric.at_threshold and "threshold" in row:
        text += f" at {row['threshold']:.3f}{' (oracle)' if row['oracle'] else ''}"
    return text


def bracket(metric: Metric, ends: Sequence[float]) -> str:
    """An interval, as it stands behind its figure: " [90.2, 95.4]"."""
    return f" [{', '.join(map(metric.text, ends))}]"


def percent(value: float | None) -> str:
    """0.5 -> "50.0", None -> "-"."""
    return "-" if value is None else f"{100 * value:.1f}"


def grouped(items: Iterable[Any], key: Callable[[Any], tuple[str, ...]]) -> dict[tuple[str, ...], list[Any]]:
    """Items by key, in order of first appearance."""
    groups: dict[tuple[str, ...], list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
