"""Two evaluations of the same images, compared image by image: is B better than A, or was it the draw of the images?

In: two output folders of `evaluate`, of one set of weights each. Out: rows with B - A, its 95 % interval and p-value, for
every generator, suite and over all, cell by cell (protocol and view). Both are resampled together, so that what makes
an image hard for both cancels: the interval is far narrower than the two own ones suggest.
"""

import csv
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from lfm_jax.errors import DataError
from lfm_jax.evaluation.bootstrap import interval, resamples
from lfm_jax.evaluation.metrics import METRICS, detection_metrics, weighted_metrics
from lfm_jax.evaluation.tables import HEADINGS, Row, grouped, percent
from lfm_jax.weights.score import is_fake

Cell = tuple[str, str]  # protocol, view
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` left in `folder`: predictions of each cell by path, and the paths that it could not score."""

    folder: Path
    weights: str
    data_sha256: str
    options: dict[str, float]  # threshold and temperature
    cells: dict[Cell, dict[str, dict[str, str]]]
    unscored: dict[Cell, set[str]]


@dataclass(frozen=True)
class Comparison:
    """`rows`: see `compare`. `unscored`: images of each cell that one of the two could not score, left out of both."""

    a: Evaluated
    b: Evaluated
    rows: list[Row]
    unscored: dict[Cell, list[str]]
    alone: dict[str, list[Cell]]  # cells of one of the two only, by its folder


def read(folder: Path) -> Evaluated:
    """Output folder of `evaluate` -> Evaluated.

    Raises:
      DataError: its files are not there, or hold several sets of weights.
    """
    missing = [name for name in ("predictions.tsv", "results.json") if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} is no output folder of lfm evaluate: no {' and no '.join(missing)} there")
    results = json.loads((folder / "results.json").read_text())
    if len(results["cards"]) != 1:
        names = ", ".join(card["weights_sha256"][:12] for card in results["cards"])
        raise DataError(f"{folder} holds {len(results['cards'])} sets of weights ({names}): give folders of one each")
    (card,) = results["cards"]
    cells: dict[Cell, dict[str, dict[str, str]]] = {(row["protocol"], row["view"]): {} for row in results["rows"]}
    unscored: dict[Cell, set[str]] = {cell: set() for cell in cells}
    with open(folder / "predictions.tsv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        for record in csv.DictReader(file, delimiter="\t"):
            cells[record["protocol"], record["view"]][record["path"]] = record
    for error in results["errors"]:
        unscored.setdefault((error["protocol"], error["view"]), set()).add(error["path"])
    options = {name: card[name] for name in ("threshold", "temperature")}
    return Evaluated(folder, card["weights_sha256"], results["data_sha256"], options, cells, unscored)


def compare(a: Evaluated, b: Evaluated) -> Comparison:
    """Two evaluations -> Comparison with a row for each common cell and group.

    A row has for each of METRICS a, b, difference (b - a), interval and p, None where the images do not define it. The
    interval is the middle 95 % of the differences over resamples of the images, stratified by label, the same for
    both. p is two-sided: twice the smaller share of resampled differences on one side of 0, those at 0 on both and the sample
    itself counted; never below 2 / 1001, and 1 where the two agree everywhere. Generators also have McNemar's
    exact p of their accuracies at 0.5, `mcnemar`: of the images that only one has right, is that one as often A as B?
    p-values are of one row each: among many rows some are small by chance.

    Raises:
      DataError: no cell in common, or other images.
    """
    common = [cell for cell in a.cells if cell in b.cells]
    if not common:
        ours, theirs = (", ".join(map(_cell_name, each.cells)) or "none" for each in (a, b))
        raise DataError(f"no protocol and view in common: {a.folder} has {ours}; {b.folder} has {theirs}")
    rows, unscored = [], {}
    for cell in common:
        _check_same_images(a, b, cell)
        paths = [path for path in a.cells[cell] if path in b.cells[cell]]
        missing = sorted(a.unscored[cell] | b.unscored[cell])
        if missing:
            unscored[cell] = missing
        rows += _cell_rows(a, b, cell, paths)
    alone = {str(one.folder): [cell for cell in one.cells if cell not in other.cells] for one, other in ((a, b), (b, a))}
    return Comparison(a, b, rows, unscored, alone)


def _check_same_images(a: Evaluated, b: Evaluated, cell: Cell) -> None:
    ours, theirs = ({*each.cells[cell], *each.unscored[cell]} for each in (a, b))
    apart = [f"{len(only)} only in {each.folder}: {_some(only)}" for each, only in ((a, ours - theirs), (b, theirs - ours)) if only]
    if apart:
        raise DataError(f"not the same images under {_cell_name(cell)}, {len(ours & theirs)} are in both; {'; '.join(apart)}")
    if a.data_sha256 and b.data_sha256 and a.data_sha256 != b.data_sha256:
        raise DataError(
            f"{a.folder} and {b.folder} name the same {len(ours)} images, but of other content (data hashes "
            f"{a.data_sha256[:12]} and {b.data_sha256[:12]})"
        )


@dataclass(frozen=True)
class _Generator:
    """Both detectors on one generator: metrics of the two, and B - A of each over the resamples [R]."""

    suite: str
    name: str
    points: tuple[dict[str, Any], dict[str, Any]]
    differences: dict[str, np.ndarray]
    mcnemar: float


def _cell_rows(a: Evaluated, b: Evaluated, cell: Cell, paths: Sequence[str]) -> list[Row]:
    records = [(a.cells[cell][path], b.cells[cell][path]) for path in paths]
    groups = grouped(records, lambda pair: (pair[0]["suite"], pair[0]["generator"]))
    generators = [_generator(a, b, suite, name, pairs) for (suite, name), pairs in groups.items()]
    names = {"protocol": cell[0], "view": cell[1]}
    rows = [
        {**names, "level": "generator", "suite": each.suite, "generator": each.name, "mcnemar": each.mcnemar, **_means([each])}
        for each in generators
    ]
    suites = grouped(generators, lambda each: (each.suite,))
    rows += [
        {**names, "level": "suite", "suite": suite, "generator": "mean", **_means(members)} for (suite,), members in suites.items()
    ]
    if len(suites) > 1:
        rows.append({**names, "level": "overall", "suite": "all", "generator": "mean", **_means(generators)})
    return rows


def _generator(a: Evaluated, b: Evaluated, suite: str, name: str, pairs: Sequence[Sequence[dict[str, str]]]) -> _Generator:
    labels = np.array([int(one["label"]) for one, _ in pairs])
    of_a, of_b = (np.array([float(pair[side]["logit"]) for pair in pairs]) for side in (0, 1))
    weights = resamples(labels, name=f"{suite}/{name}")
    points = detection_metrics(labels, of_a, **a.options), detection_metrics(labels, of_b, **b.options)
    values = weighted_metrics(labels, of_a, weights, **a.options), weighted_metrics(labels, of_b, weights, **b.options)
    differences = {metric: values[1][metric] - values[0][metric] for metric in METRICS}
    return _Generator(suite, name, points, differences, mcnemar(*(is_fake(x, 0.5) == labels for x in (of_a, of_b))))


def _means(generators: Sequence[_Generator]) -> Row:
    """Counts, and the unweighted mean of each metric over the generators that define it."""
    row: Row = {name: sum(each.points[0][name] for each in generators) for name in ("n_real", "n_fake")}
    for name in METRICS:
        defined = [each for each in generators if each.points[0][name] is not None]
        row[name] = None
        if defined:
            one, other = (float(np.mean([each.points[side][name] for each in defined])) for side in (0, 1))
            resampled = np.mean([each.differences[name] for each in defined], axis=0)
            difference = {"a": one, "b": other, "difference": other - one}
            row[name] = {**difference, "interval": interval(resampled), "p": p_value(resampled)}
    return row


def p_value(differences: np.ndarray) -> float:
    """Differences of the resamples [R] -> two-sided p, see `compare`."""
    sides = (differences <= 0).sum(), (differences >= 0).sum()
    return float(min(2 * (min(sides) + 1) / (len(differences) + 1), 1))


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """Which images each has right [N] -> McNemar's exact two-sided p, 1 where both have the same ones right."""
    from scipy.stats import binomtest  # here, as it takes a second to load

    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Comparison -> what `--json` writes."""
    ends = {
        name: {"folder": str(each.folder), "weights_sha256": each.weights, "data_sha256": each.data_sha256}
        for name, each in {"a": comparison.a, "b": comparison.b}.items()
    }
    unscored = [{"protocol": cell[0], "view": cell[1], "paths": paths} for cell, paths in comparison.unscored.items()]
    return {**ends, "rows": comparison.rows, "unscored": unscored}


def markdown(comparison: Comparison, metrics: Sequence[str]) -> str:
    """Markdown table of `metrics`, times 100, with p-values; and what was left out."""
    names = ["protocol", "view", "suite", "generator"]
    columns = ["A", "B", "B - A", "p"]
    heads = [*names, "images", *(f"{HEADINGS.get(name, name)} {column}".strip() for name in metrics for column in columns)]
    heads += ["McNemar p"] if "acc" in metrics else []
    lines = []
    for row in comparison.rows:
        line = [
            *(row[name] for name in names),
            row["n_real"] + row["n_fake"],
            *(cell for name in metrics for cell in _cells(row[name])),
        ]
        lines.append(line + ([_p(row["mcnemar"]) if "mcnemar" in row else ""] if "acc" in metrics else []))
    align = ["left"] * len(names) + ["right"] * (len(heads) - len(names))
    shown = [
        f"A: {comparison.a.folder}, weights {comparison.a.weights[:12]}",
        f"B: {comparison.b.folder}, weights {comparison.b.weights[:12]}",
    ]
    shown += ["", tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=align)]
    left_out = [
        f"{_cell_name(cell)}: {len(paths)} not scored by both, left out: {_some(paths)}"
        for cell, paths in comparison.unscored.items()
    ]
    left_out += [f"only in {folder}: {', '.join(map(_cell_name, cells))}" for folder, cells in comparison.alone.items() if cells]
    return "\n".join(shown + ([""] if left_out else []) + left_out)


def _cells(value: Row | None) -> list[str]:
    if value is None:
        return ["-"] * 4
    ends = "" if value["interval"] is None else f" [{', '.join(map(_signed, value['interval']))}]"
    return [percent(value["a"]), percent(value["b"]), _signed(value["difference"]) + ends, _p(value["p"])]


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _some(paths: Collection[str]) -> str:
    return ", ".join(sorted(paths)[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")


def _cell_name(cell: Cell) -> str:
    return " ".join(cell)
