"""Two evaluations of the same images, compared image by image: is B better than A, or was it the choice of images?

Both are resampled together, so that whatever makes an image hard for both cancels out: the interval of the difference is
far narrower than the two separate intervals suggest.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from lfm_jax.errors import DataError
from lfm_jax.evaluation.bootstrap import interval, resamples
from lfm_jax.evaluation.histogram import paired_resamples
from lfm_jax.evaluation.metrics import METRICS, Metric, detection_metrics, weighted_metrics
from lfm_jax.evaluation.saved import Condition, SavedEvaluation, SavedPrediction
from lfm_jax.evaluation.tables import Row, bootstrap_note, grouped, is_binned, marked_binned
from lfm_jax.runtime.terminal import printable
from lfm_jax.weights.score import is_fake

NAMES_IN_MESSAGE = 5


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Attributes:
      rows: see `compare_evaluations`.
      unscored: of each condition, the images that A or B could not score; they are left out of both.
      alone: conditions that only one evaluation has, by its folder.
    """

    a: SavedEvaluation
    b: SavedEvaluation
    rows: list[Row]
    unscored: dict[Condition, list[str]]
    alone: dict[str, list[Condition]]


def compare_evaluations(a: SavedEvaluation, b: SavedEvaluation) -> Comparison:
    """Compares two evaluations in every common condition: a row for each generator, each suite and overall.

    For each metric a row has a, b, difference (b - a), interval and p, or None where the images do not define it. The
    interval is the middle 95 % of the differences over resamples of the images, stratified by label, the same for
    both. p is two-sided: twice the smaller share of resampled differences on one side of 0, with those at 0 on both sides
    and the sample itself counted; it is never below 2 / 1001, and 1 where the two agree everywhere. Generators also have
    McNemar's exact p of their accuracies at 0.5, `mcnemar`: among the images that only one of the two calls correctly, is
    that one as often A as B? Each p-value is for its row alone: among many rows some are small by chance.

    Raises:
      DataError: no condition in common, or different images.
    """
    common = [condition for condition in a.predictions if condition in b.predictions]
    if not common:
        ours, theirs = (", ".join(map(_condition_name, side.predictions)) or "none" for side in (a, b))
        raise DataError(f"no protocol and view in common: {a.folder} has {ours}; {b.folder} has {theirs}")
    rows, unscored = [], {}
    for condition in common:
        _check_same_images(a, b, condition)
        missing = sorted(a.unscored[condition] | b.unscored[condition])
        if missing:
            unscored[condition] = missing
        rows += _condition_rows(a, b, condition)
    alone = {
        str(one.folder): [condition for condition in one.predictions if condition not in other.predictions]
        for one, other in ((a, b), (b, a))
    }
    return Comparison(a, b, rows, unscored, alone)


def _check_same_images(a: SavedEvaluation, b: SavedEvaluation, condition: Condition) -> None:
    ours, theirs = ({*side.predictions[condition], *side.unscored[condition]} for side in (a, b))
    apart = [f"{len(only)} only in {side.folder}: {_some(only)}" for side, only in ((a, ours - theirs), (b, theirs - ours)) if only]
    if apart:
        raise DataError(
            f"not the same images under {_condition_name(condition)}, {len(ours & theirs)} are in both; {'; '.join(apart)}"
        )
    if a.data_sha256 and b.data_sha256 and a.data_sha256 != b.data_sha256:
        raise DataError(
            f"{a.folder} and {b.folder} name the same {len(ours)} images, but with other content (data hashes "
            f"{a.data_sha256[:12]} and {b.data_sha256[:12]})"
        )


@dataclass(frozen=True)
class _Generator:
    """A and B on one generator: the metrics of both, and B - A of each over the resamples [R]."""

    suite: str
    name: str
    points: tuple[dict[str, Any], dict[str, Any]]
    differences: dict[str, np.ndarray]
    mcnemar: float


def _condition_rows(a: SavedEvaluation, b: SavedEvaluation, condition: Condition) -> list[Row]:
    ours, theirs = a.predictions[condition], b.predictions[condition]
    pairs = [(ours[path], theirs[path]) for path in ours if path in theirs]
    groups = grouped(pairs, lambda pair: (pair[0].suite, pair[0].generator))
    generators = [_generator(a, b, suite, name, members) for (suite, name), members in groups.items()]
    names = {"protocol": condition[0], "view": condition[1]}
    rows = [
        {**names, "level": "generator", "suite": one.suite, "generator": one.name, "mcnemar": one.mcnemar, **_means([one])}
        for one in generators
    ]
    suites = grouped(generators, lambda one: (one.suite,))
    rows += [
        {**names, "level": "suite", "suite": suite, "generator": "mean", **_means(members)} for (suite,), members in suites.items()
    ]
    if len(suites) > 1:
        rows.append({**names, "level": "overall", "suite": "all", "generator": "mean", **_means(generators)})
    return rows


def _generator(
    a: SavedEvaluation, b: SavedEvaluation, suite: str, name: str, pairs: Sequence[tuple[SavedPrediction, SavedPrediction]]
) -> _Generator:
    labels = np.array([one.label for one, _ in pairs])
    of_a, of_b = (np.array([pair[side].logit for pair in pairs]) for side in (0, 1))
    points = detection_metrics(labels, of_a, **a.options), detection_metrics(labels, of_b, **b.options)
    drawn = f"{suite}/{name}"
    if is_binned(points[0]):
        sides = [(of_a, points[0], a.options), (of_b, points[1], b.options)]
        values = paired_resamples(labels, sides, name=drawn)
    else:
        weights = resamples(labels, name=drawn)
        values = [weighted_metrics(labels, of_a, weights, **a.options), weighted_metrics(labels, of_b, weights, **b.options)]
    differences = {metric: values[1][metric] - values[0][metric] for metric in METRICS}
    return _Generator(suite, name, points, differences, mcnemar(*(is_fake(logits, 0.5) == labels for logits in (of_a, of_b))))


def _means(generators: Sequence[_Generator]) -> Row:
    """Counts, and the unweighted mean of each metric over the generators that define it."""
    row: Row = {name: sum(one.points[0][name] for one in generators) for name in ("n_real", "n_fake")}
    row |= marked_binned(*(one.points[0] for one in generators))
    for name in METRICS:
        defined = [one for one in generators if one.points[0][name] is not None]
        row[name] = None
        if defined:
            of_a, of_b = (float(np.mean([one.points[side][name] for one in defined])) for side in (0, 1))
            resampled = np.mean([one.differences[name] for one in defined], axis=0)
            difference = {"a": of_a, "b": of_b, "difference": of_b - of_a}
            row[name] = {**difference, "interval": interval(resampled, of_b - of_a), "p": p_value(resampled)}
    return row


def p_value(differences: np.ndarray) -> float:
    """Differences of the resamples [R] -> two-sided p, see `compare_evaluations`."""
    sides = (differences <= 0).sum(), (differences >= 0).sum()
    return float(min(2 * (min(sides) + 1) / (len(differences) + 1), 1))


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Which images each calls correctly [N] -> McNemar's exact two-sided p; 1 where both are correct on the same ones."""
    from scipy.stats import binomtest  # here, as it takes a second to load

    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Comparison -> what `--json` writes."""
    sides = {
        name: {"folder": str(side.folder), "weights_sha256": side.weights, "data_sha256": side.data_sha256}
        for name, side in {"a": comparison.a, "b": comparison.b}.items()
    }
    unscored = [{"protocol": protocol, "view": view, "paths": paths} for (protocol, view), paths in comparison.unscored.items()]
    return {**sides, "rows": comparison.rows, "unscored": unscored}


def markdown(comparison: Comparison, metrics: Sequence[str]) -> str:
    """Markdown table of `metrics`, in percent, with intervals and p-values; below it, what was left out."""
    names, table = ["protocol", "view", "suite", "generator"], {name: METRICS[name]() for name in metrics}
    heads = [*names, "images", *(f"{metric.heading} {column}" for metric in table.values() for column in ("A", "B", "B - A", "p"))]
    heads += ["McNemar p"] if "acc" in metrics else []
    lines = []
    for row in comparison.rows:
        figures = [text for name, metric in table.items() for text in _figures(row[name], metric)]
        line = [*(printable(row[name]) for name in names), row["n_real"] + row["n_fake"], *figures]
        lines.append(line + ([_p(row["mcnemar"]) if "mcnemar" in row else ""] if "acc" in metrics else []))
    align = ["left"] * len(names) + ["right"] * (len(heads) - len(names))
    parts = [
        f"A: {comparison.a.folder}, weights {comparison.a.weights[:12]}",
        f"B: {comparison.b.folder}, weights {comparison.b.weights[:12]}",
        "",
        tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=align),
    ]
    notes = [
        f"{_condition_name(condition)}: {len(paths)} not scored by both, left out: {_some(paths)}"
        for condition, paths in comparison.unscored.items()
    ]
    notes += [
        f"only in {folder}: {', '.join(map(_condition_name, conditions))}"
        for folder, conditions in comparison.alone.items()
        if conditions
    ]
    notes += [note] if (note := bootstrap_note(comparison.rows)) else []
    return "\n".join(parts + ([""] if notes else []) + notes)


def _figures(value: Row | None, metric: Metric) -> list[str]:
    """A, B, B - A with its interval, and p."""
    if value is None:
        return ["-"] * 4
    ends = "" if value["interval"] is None else f" [{', '.join(map(metric.change, value['interval']))}]"
    return [metric.text(value["a"]), metric.text(value["b"]), metric.change(value["difference"]) + ends, _p(value["p"])]


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _some(paths: Collection[str]) -> str:
    return ", ".join(sorted(paths)[:NAMES_IN_MESSAGE]) + (", ..." if len(paths) > NAMES_IN_MESSAGE else "")


def _condition_name(condition: Condition) -> str:
    return " ".join(condition)
