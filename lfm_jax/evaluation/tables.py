"""Rows of results: every metric with its interval for each generator, each suite and overall, and a table of them.

Rows are plain dicts, written to results.json unchanged. A row belongs to one cell (one set of weights under one protocol
and view); rows of different cells are never averaged.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from lfm_jax.evaluation.bootstrap import EXACT_UP_TO, interval, resamples, resamples_in_parts
from lfm_jax.evaluation.histogram import BINS, Histogram, binned_resamples
from lfm_jax.evaluation.metrics import METRICS, Metric, columns, detection_metrics, plain, weighted_metrics
from lfm_jax.runtime.terminal import printable

Row = dict[str, Any]
SWAPPED = 0.2  # AUC below which labels may be swapped; chance is 0.5
BINNED = (
    f"Intervals of rows over groups of more than {EXACT_UP_TO:,} images are resampled in {BINS:,} bins of the score, not image by "
    "image."
)
Resampled = Mapping[str, np.ndarray]  # metric -> its values over the resamples [R]
Draw = Callable[..., Iterable[np.ndarray]]  # (labels, *, name) -> parts of the resamples


def cell_rows(
    predictions: Sequence[Mapping[str, Any]], cell: Mapping[str, str], *, threshold: float, temperature: float, oracle: bool = False
) -> list[Row]:
    """The rows of one cell: its generators, the means of its suites and of everything, then the same pooled.

    A generator's metrics are over all its images. A suite's row is the unweighted mean of its generators; beside it stand
    the mean weighted by images, the generator with the lowest AP, and how many `generators` there are and were `averaged`
    for each metric, as one with images of one label has no AP. `all` is the same over all generators. Rows of the level
    `pooled` are over all images of a suite, or of everything, as if one generator had made them; where there is only one
    generator they would repeat it, and are left out.

    Args:
      predictions: dicts with suite, generator, label and logit.
      cell: names that every row repeats.
      threshold, temperature: of the weights.
      oracle: the threshold was fitted on test images, which rows and tables then say.
    """
    resampled: dict[tuple[str, str], Resampled] = {}
    histograms: dict[tuple[str, str], Histogram] = {}
    common = {**cell, "threshold": threshold, "oracle": oracle}
    generators: list[Row] = []
    options = {"threshold": threshold, "temperature": temperature}
    for (suite, generator), members in grouped(predictions, lambda p: (p["suite"], p["generator"])).items():
        scores = _labels_and_logits(members)
        histogram = histograms[suite, generator] = Histogram.of(*scores)
        measured, values = _measured(scores, histogram, f"{suite}/{generator}", _at_once, **options)
        resampled[suite, generator] = values
        generators.append({**common, "level": "generator", "suite": suite, "generator": generator, **measured})

    def mean_row(level: str, suite: str, rows: Sequence[Row]) -> Row:
        names = {**common, "level": level, "suite": suite, "generator": "mean"}
        return names | _means(rows, [resampled[row["suite"], row["generator"]] for row in rows])

    by_suite = grouped(generators, lambda row: (row["suite"],))
    suites = [mean_row("suite", suite, rows) for (suite,), rows in by_suite.items()]
    overall = [mean_row("overall", "all", generators)] if len(suites) > 1 else []
    together = {suite: [p for p in predictions if p["suite"] == suite] for (suite,), rows in by_suite.items() if len(rows) > 1}
    together |= {"all": list(predictions)} if overall else {}
    pooled = []
    for suite, members in together.items():
        histogram = functools.reduce(operator.add, [part for (of, _), part in histograms.items() if suite in (of, "all")])
        measured, _ = _measured(_labels_and_logits(members), histogram, f"{suite}, pooled", resamples_in_parts, **options)
        pooled.append({**common, "level": "pooled", "suite": suite, "generator": "pooled", **measured})
    return generators + suites + overall + pooled


def _at_once(labels: np.ndarray, *, name: str) -> list[np.ndarray]:
    """All resamples in one part, as a generator's are drawn."""
    return [resamples(labels, name=name)]


def _labels_and_logits(predictions: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p["label"] for p in predictions]), np.array([p["logit"] for p in predictions])


def _measured(
    scores: tuple[np.ndarray, np.ndarray], histogram: Histogram, name: str, drawn: Draw, **options: float
) -> tuple[Row, Resampled]:
    """What a row says of these images besides their names, and the metrics over their resamples.

    Args:
      scores: labels [N] and logits [N] of the images.
      histogram: of them; where they are many, it is resampled in their place.
      name: of the set of images, on which its draws depend.
      drawn: makes the resamples of the images themselves.
    """
    labels, logits = scores
    point = detection_metrics(labels, logits, **options)
    if is_binned(point):
        values = binned_resamples(histogram, point, name=name, **options)
    else:
        parts = [weighted_metrics(labels, logits, weights, **options) for weights in drawn(labels, name=name)]
        values = {metric: np.concatenate([part[metric] for part in parts]) for metric in METRICS}
    intervals = {metric: interval(values[metric], point[metric]) for metric in METRICS}
    return {**point, "interval": intervals, **marked_binned(point)}, values


def is_binned(point: Mapping[str, Any]) -> bool:
    """Whether there are so many images, by their counts `n_real` and `n_fake`, that they are resampled in bins."""
    return point["n_real"] + point["n_fake"] > EXACT_UP_TO


def marked_binned(*points: Mapping[str, Any]) -> Row:
    """What says in a row that some of these images were resampled in bins; {} where none were."""
    return {"bootstrap": "binned"} if any(map(is_binned, points)) else {}


def bootstrap_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """A sentence for below a table, where intervals in it are from bins; otherwise ""."""
    return BINNED if any(row.get("bootstrap") == "binned" for row in rows) else ""


def _means(rows: Sequence[Row], resampled: Sequence[Resampled]) -> Row:
    """Each metric over the rows that define it. Generators are resampled independently, so their mean is, too."""
    counts = {name: sum(row[name] for row in rows) for name in ("n_real", "n_fake")}
    means, intervals, weighted = {}, {}, {}
    averaged: dict[str, int] = {}
    for name in METRICS:
        defined = [index for index, row in enumerate(rows) if row[name] is not None]
        averaged[name] = len(defined)
        values = [rows[index][name] for index in defined]
        images = [rows[index]["n_real"] + rows[index]["n_fake"] for index in defined]
        means[name] = plain(np.mean(values)) if defined else None
        weighted[name] = plain(np.average(values, weights=images)) if defined else None
        draws = np.mean([resampled[index][name] for index in defined], axis=0) if defined else np.array([])
        intervals[name] = interval(draws, means[name])
    ranked = [row for row in rows if row["ap"] is not None]
    worst = min(ranked, key=lambda row: row["ap"])["generator"] if ranked else None
    generators = {"generators": len(rows), "averaged": averaged}
    binned = {"bootstrap": "binned"} if any("bootstrap" in row for row in rows) else {}
    return {**counts, **means, "interval": intervals, "weighted": weighted, "worst": worst, **generators, **binned}


def seed_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows of several weights -> the mean over the weights for each group, with the sample deviation (n - 1)."""
    same = ("protocol", "view", "level", "suite", "generator")
    means = []
    for names, group in grouped(rows, lambda row: tuple(row[name] for name in same)).items():
        values = {name: [row[name] for row in group if row[name] is not None] for name in METRICS}
        row: Row = {"weights": f"mean of {len(group)}", **dict(zip(same, names, strict=True))}
        row |= {name: group[0][name] for name in ("n_real", "n_fake", "generators", "averaged") if name in group[0]}
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
        [
            *(printable(row[name]) for name in names),
            row["n_real"],
            row["n_fake"],
            *(_figure(row, name, metrics[name]) for name in metrics),
        ]
        for row in rows
    ]
    align = ["left"] * len(names) + ["right"] * (len(heads) - len(names))
    table = tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=align)
    return f"{table}\n\n{note}" if (note := bootstrap_note(rows)) else table


def _figure(row: Row, name: str, metric: Metric) -> str:
    """ "93.1 [90.2, 95.4]", "93.1 ± 0.4" or "93.1 at 0.731 (oracle)"; a mean over several weights has several thresholds.

    A mean over some of the generators says so: "93.1 (1 of 3)".
    """
    text = metric.text(row[name])
    if row.get("deviation", {}).get(name) is not None:
        text += f" ± {metric.text(row['deviation'][name])}"
    elif metric.interval and row.get("interval", {}).get(name):
        text += bracket(metric, row["interval"][name])
    if metric.at_threshold and "threshold" in row:
        text += f" at {row['threshold']:.3f}{' (oracle)' if row['oracle'] else ''}"
    if averages_some(row, name):
        text += f" ({row['averaged'][name]} of {row['generators']})"
    return text


def averages_some(row: Mapping[str, Any], name: str) -> bool:
    """Whether a metric of a row is the mean over some of its generators only, as the others do not define it."""
    return "averaged" in row and 0 < row["averaged"][name] < row["generators"]


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


def swapped_labels(rows: Sequence[Row]) -> list[str]:
    """A remark for each generator of which nearly every real scores above the fakes, as where labels are swapped."""
    return [
        f"{row['suite']}/{row['generator']} under {row['protocol']}, {row['view']}: AUC is {percent(row['auc'])}, far below 50: "
        "reals score above fakes; are 0_real and 1_fake swapped?"
        for row in rows
        if row["level"] == "generator"
        and row["auc"] is not None
        and row["auc"] < SWAPPED
        and min(row["n_real"], row["n_fake"]) >= 10
    ]
