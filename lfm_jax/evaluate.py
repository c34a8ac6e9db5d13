"""Evaluation of a detector on labelled images: predictions, metrics per generator, suite and overall, a table.

In: a Detector, a Source, protocols and views. Out: an `Evaluation`, and with an output folder its files:
`predictions.tsv`, `results.json`, `table.md`, `report.html`, `examples.png`. Files that cannot be scored are named and
counted; rows of different weights, protocols or views are never averaged.
"""

import csv
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lfm_jax import plots, published, report, tables
from lfm_jax.cells import Cells
from lfm_jax.data import format_audit
from lfm_jax.data import views as views_lib
from lfm_jax.data.sources import Example, Source
from lfm_jax.data.views import ViewedSource
from lfm_jax.detector import Detector
from lfm_jax.scoring import Scored, score_together

PREDICTION_COLUMNS = ("path", "suite", "generator", "label", "logit", "score", "protocol", "view", "weights")


@dataclass(frozen=True)
class Evaluation:
    """`rows`: one a cell and group, `level` generator | suite | overall, metrics in [0, 1]; see `tables`.

    `predictions` are dicts with PREDICTION_COLUMNS; `errors` are dicts with path, protocol, view and error.
    """

    rows: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    errors: list[dict[str, str]]

    def row(self, level: str, **names: str) -> dict[str, Any]:
        """The one row of that level (and suite=, generator=, protocol=, view=, weights= where given)."""
        wanted = {"level": level, **names}
        (found,) = (row for row in self.rows if wanted.items() <= row.items())
        return found

    def table(self) -> str:
        """Markdown table, metrics in percent, and under it one of the published results that may stand beside it."""
        known = published.beside(self.rows)
        return tables.markdown(self.rows) + (f"\n\n{published.markdown(known)}" if known else "")


def evaluate(
    detector: Detector,
    source: Source,
    protocols: Sequence[str],
    *,
    views: Sequence[str] = ("native",),
    batch_size: int = 32,
    threads: int = 8,
    cells: Cells | None = None,
) -> Evaluation:
    """Score every labelled example of `source` under every view and protocol, but for what `cells` has already."""
    rows, predictions, errors = [], [], []
    options: dict[str, Any] = {name: getattr(detector.card, name) for name in ("threshold", "temperature", "oracle")}
    for view in views:
        viewed = ViewedSource(source, views_lib.parse(view))
        for protocol in protocols:
            cell = {"weights": detector.card.weights_sha256[:12], "protocol": protocol, "view": view}
            scored = cells.load(cell) if cells else None
            if scored is None:
                what = f"{viewed.name} {protocol}"
                scored = score_together(detector, viewed, protocol, batch_size=batch_size, threads=threads, what=what)
                if cells:
                    cells.save(cell, scored)
            right = [_prediction(source.examples[s.index], s, detector, cell) for s in scored if s.logit is not None]
            errors += [_error(source.examples[s.index], s, cell) for s in scored if s.error is not None]
            predictions += right
            rows += tables.cell_rows(right, cell, **options)
    return Evaluation(rows, predictions, errors)


def together(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of several weights on the same images -> one, with rows of their mean and deviation at the end."""
    rows = [row for evaluation in evaluations for row in evaluation.rows]
    return Evaluation(
        rows + (tables.seed_rows(rows) if len(evaluations) > 1 else []),
        [prediction for evaluation in evaluations for prediction in evaluation.predictions],
        evaluations[0].errors,  # of the images, the same for all weights
    )


def write(evaluation: Evaluation, detectors: Sequence[Detector], source: Source, out: Path, *, data_sha256: str = "") -> None:
    """Evaluation of the weights of `detectors` -> files in folder `out` (see the module's head)."""
    cards = [detector.card for detector in detectors]
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "predictions.tsv", "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, PREDICTION_COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(evaluation.predictions)
    results = {
        "data": source.name,
        "data_sha256": data_sha256,
        "images": len(source.examples),
        "rows": evaluation.rows,
        "published": published.beside(evaluation.rows),
        "format": format_audit.audit_source(source),
        "errors": evaluation.errors,
        "cards": [asdict(card) for card in cards],
        "versions": {name: version(name) for name in ("lfm_jax", "jax", "flax", "pillow", "scikit-learn")}
        | {"python": platform.python_version()},
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "table.md").write_text(evaluation.table() + "\n")
    report.write(results, evaluation.predictions, source, out / "report.html", detector=detectors[0])
    if evaluation.predictions:
        shown = ViewedSource(source, views_lib.parse(evaluation.predictions[0]["view"]))
        plots.examples(evaluation.predictions, shown, cards[0], out / "examples.png")


def _prediction(example: Example, item: Scored, detector: Detector, cell: dict[str, str]) -> dict[str, Any]:
    assert item.logit is not None
    score = detector.card.score(item.logit)
    values = {"path": example.path, "suite": example.suite, "generator": example.generator, "label": example.label}
    return {**values, "logit": item.logit, "score": score, **cell}


def _error(example: Example, item: Scored, cell: dict[str, str]) -> dict[str, str]:
    assert item.error is not None
    return {"path": example.path, "protocol": cell["protocol"], "view": cell["view"], "error": item.error}
