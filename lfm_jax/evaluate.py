"""Evaluation of a detector on labelled images: predictions, metrics per generator, suite and overall, a table.

In: a Detector, a Source, protocols. Out: an `Evaluation`, and with an output folder its files:
`predictions.tsv`, `results.json`, `table.md`, `examples.png`. Files that cannot be scored are named and
counted; rows of different protocols are never averaged.
"""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from lfm_jax import plots
from lfm_jax.data.sources import Example, Source
from lfm_jax.detector import Detector
from lfm_jax.metrics import METRICS, detection_metrics, mean_of, sigmoid
from lfm_jax.scoring import Scored, score_together

PREDICTION_COLUMNS = ("path", "suite", "generator", "label", "logit", "score", "protocol")
HEADINGS = {"acc": "ACC", "real_acc": "real ACC", "fake_acc": "fake ACC", "ap": "AP"}


@dataclass(frozen=True)
class Evaluation:
    """`rows`: one a protocol and group, `level` generator | suite | overall, metrics in [0, 1].

    `predictions` are dicts with PREDICTION_COLUMNS; `errors` maps (protocol, path) to the reason.
    """

    rows: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    errors: list[dict[str, str]]

    def row(self, level: str, *, protocol: str | None = None, **names: str) -> dict[str, Any]:
        """The one row of that level (and suite=, generator=, protocol= where given)."""
        wanted = {"level": level, **names} | ({"protocol": protocol} if protocol else {})
        (found,) = (row for row in self.rows if wanted.items() <= row.items())
        return found

    def table(self) -> str:
        """Markdown table, metrics in percent."""
        lines = [
            [row["protocol"], row["suite"], row["generator"], row["n_real"], row["n_fake"], *(_percent(row[m]) for m in METRICS)]
            for row in self.rows
        ]
        heads = ["protocol", "suite", "generator", "real", "fake", *(HEADINGS[name] for name in METRICS)]
        return tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=["left"] * 3 + ["right"] * 6)


def evaluate(detector: Detector, source: Source, protocols: Sequence[str], *, batch_size: int = 32, threads: int = 8) -> Evaluation:
    """Score every labelled example of `source` under every protocol."""
    rows, predictions, errors = [], [], []
    for protocol in protocols:
        what = f"{source.name} {protocol}"
        right: list[dict[str, Any]] = []
        for item in score_together(detector, source, protocol, batch_size=batch_size, threads=threads, what=what):
            example = source.examples[item.index]
            if item.error is None:
                right.append(_prediction(example, item, protocol))
            else:
                errors.append({"path": example.path, "protocol": protocol, "error": item.error})
        predictions += right
        rows += _rows(right, protocol, detector.card.threshold)
    return Evaluation(rows, predictions, errors)


def write(evaluation: Evaluation, detector: Detector, source: Source, out: Path) -> None:
    """Evaluation -> files in folder `out` (see the module's head)."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "predictions.tsv", "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, PREDICTION_COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(evaluation.predictions)
    results = {
        "data": source.name,
        "images": len(source.examples),
        "rows": evaluation.rows,
        "errors": evaluation.errors,
        "card": asdict(detector.card),
        "versions": {name: version(name) for name in ("lfm_jax", "jax", "flax", "pillow", "scikit-learn")},
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "table.md").write_text(evaluation.table() + "\n")
    plots.examples(evaluation.predictions, source, detector.card.threshold, out / "examples.png")


def _prediction(example: Example, item: Scored, protocol: str) -> dict[str, Any]:
    assert item.logit is not None
    values = (example.path, example.suite, example.generator, example.label, item.logit, float(sigmoid(item.logit)), protocol)
    return dict(zip(PREDICTION_COLUMNS, values, strict=True))


def _rows(predictions: Sequence[dict[str, Any]], protocol: str, threshold: float) -> list[dict[str, Any]]:
    """Generators from their images; suites as the mean of their generators; overall as the mean of all generators."""

    def metrics(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return detection_metrics([p["label"] for p in group], [p["logit"] for p in group], threshold=threshold)

    def named(level: str, suite: str, generator: str, values: dict[str, Any]) -> dict[str, Any]:
        return {"protocol": protocol, "level": level, "suite": suite, "generator": generator, **values}

    generators = [
        named("generator", suite, generator, metrics(group))
        for (suite, generator), group in _grouped(predictions, lambda p: (p["suite"], p["generator"])).items()
    ]
    suites = [
        named("suite", suite, "mean", _total(rows)) for (suite,), rows in _grouped(generators, lambda r: (r["suite"],)).items()
    ]
    overall = [named("overall", "all", "mean", _total(generators))] if len(suites) > 1 else []
    return generators + suites + overall


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(row[name] for row in rows) for name in ("n_real", "n_fake")} | mean_of(rows)


def _grouped(items: Iterable[dict[str, Any]], key: Callable[[dict[str, Any]], tuple[str, ...]]) -> dict[tuple[str, ...], list[Any]]:
    groups: dict[tuple[str, ...], list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
