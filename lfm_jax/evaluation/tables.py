"""Rows of results: metrics with their intervals for every generator, suite and over all, and a table of them.

In: predictions of one cell, that is one set of weights under one protocol and one view. Out: dicts that go into
results.json as they are. Rows of different cells are never averaged.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from tabulate import tabulate

from lfm_jax.evaluation.bootstrap import interval, resamples
from lfm_jax.evaluation.metrics import METRICS, detection_metrics, plain, weighted_metrics

HEADINGS = {"acc": "ACC", "real_acc": "real ACC", "fake_acc": "fake ACC", "ap": "AP", "auc": "AUC", "eer": "EER"}
WITH_INTERVAL = ("acc", "ap")

Row = dict[str, Any]
Resampled = Mapping[str, np.ndarray]  # metric -> its values over the resamples [R]


def cell_rows(
    predictions: Sequence[Mapping[str, Any]], cell: Mapping[str, str], *, threshold: float, temperature: float, oracle: bool = False
) -> list[Row]:
    """Predictions (dicts with suite, generator, label, logit) -> rows, each with the names in `cell` and the threshold.

    `oracle`: the threshold was fitted on test images, which rows and tables then say.

    A generator's metrics are over all its images; a suite's row is the unweighted mean of its generators, with the
    mean weighted by images and the generator of the lowest AP beside it; `all` is the same over all generators.
    """
    resampled: dict[tuple[str, str], Resampled] = {}
    used = {**cell, "threshold": threshold, "oracle": oracle}
    generators: list[Row] = []
    for (suite, generator), group in grouped(predictions, lambda p: (p["suite"], p["generator"])).items():
        labels, logits = (np.array([p[name] for p in group]) for name in ("label", "logit"))
        options = {"threshold": threshold, "temperature": temperature}
        point = detection_metrics(labels, logits, **options)
        weights = resamples(labels, name=f"{suite}/{generator}")
        values = resampled[suite, generator] = weighted_metrics(labels, logits, weights, **options)
        names = {"level": "generator", "suite": suite, "generator": generator}
        generators.append({**used, **names, **point, "interval": {name: interval(values[name]) for name in METRICS}})

    def mean_row(level: str, suite: str, rows: Sequence[Row]) -> Row:
        names = {**used, "level": level, "suite": suite, "generator": "mean"}
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
    """Rows of several weights -> for each group its mean over them, and the deviation (of a sample, n - 1)."""
    same = ("protocol", "view", "level", "suite", "generator")
    found = []
    for names, group in grouped(rows, lambda row: tuple(row[name] for name in same)).items():
        values = {name: [row[name] for row in group if row[name] is not None] for name in METRICS}
        row: Row = {"weights": f"mean of {len(group)}", **dict(zip(same, names, strict=True))}
        row |= {name: group[0][name] for name in ("n_real", "n_fake")}
        row |= {name: plain(np.mean(known)) if known else None for name, known in values.items()}
        row["deviation"] = {name: plain(np.std(known, ddof=1)) if len(known) > 1 else None for name, known in values.items()}
        found.append(row)
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Rows -> Markdown table, metrics in percent, with 95 % intervals or deviations.

    Weights and view where there are several, ACC at the threshold where one is not 0.5.
    """
    several = [name for name in ("weights", "view") if len({row[name] for row in rows}) > 1]
    names = ["protocol", *several, "suite", "generator"]
    fitted = any(row.get("threshold", 0.5) != 0.5 for row in rows)
    heads = [*names, "real", "fake", *HEADINGS.values(), *(["ACC at threshold"] if fitted else [])]
    lines = [[*(row[name] for name in names), row["n_real"], row["n_fake"], *map(partial(_cell, row), HEADINGS)] for row in rows]
    if fitted:
        lines = [[*line, _at_threshold(row)] for line, row in zip(lines, rows, strict=True)]
    align = ["left"] * len(names) + ["right"] * (len(heads) - len(names))
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=align)


def _cell(row: Row, name: str) -> str:
    if row.get("deviation", {}).get(name) is not None:
        return f"{percent(row[name])} ± {percent(row['deviation'][name])}"
    return percent(row[name]) + (_bracket(row["interval"][name]) if "interval" in row and name in WITH_INTERVAL else "")


def _at_threshold(row: Row) -> str:
    """ "93.1 at 0.731 (oracle)"; a mean over several weights has several thresholds."""
    at = f" at {row['threshold']:.3f}{' (oracle)' if row['oracle'] else ''}" if "threshold" in row else ""
    return _cell(row, "acc_at_threshold") + at


def percent(value: float | None) -> str:
    """0.5 -> "50.0", None -> "-"."""
    return "-" if value is None else f"{100 * value:.1f}"


def _bracket(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f" [{percent(ends[0])}, {percent(ends[1])}]"


def grouped(items: Iterable[Any], key: Callable[[Any], tuple[str, ...]]) -> dict[tuple[str, ...], list[Any]]:
    """Items by key, in order of first appearance."""
    groups: dict[tuple[str, ...], list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
