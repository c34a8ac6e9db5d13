"""Evaluation of a detector on labelled images: predictions, metrics per generator, suite and overall, a table.

In: a Network, a Source, protocols and views. Out: an `Evaluation`. Files that cannot be scored are named and
counted; rows of different weights, protocols or views are never averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lfm_jax.data import views as views_lib
from lfm_jax.data.sources.base import Example, Source
from lfm_jax.data.views import ViewedSource
from lfm_jax.evaluation import published, tables
from lfm_jax.evaluation.cells import Cells
from lfm_jax.inference.network import Network
from lfm_jax.inference.scoring import Scored, score_together

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
    network: Network,
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
    options: dict[str, Any] = {name: getattr(network.card, name) for name in ("threshold", "temperature", "oracle")}
    for view in views:
        viewed = ViewedSource(source, views_lib.parse(view))
        for protocol in protocols:
            cell = {"weights": network.card.weights_sha256[:12], "protocol": protocol, "view": view}
            scored = cells.load(cell) if cells else None
            if scored is None:
                what = f"{viewed.name} {protocol}"
                scored = score_together(network, viewed, protocol, batch_size=batch_size, threads=threads, what=what)
                if cells:
                    cells.save(cell, scored)
            right = [_prediction(source.examples[s.index], s, network, cell) for s in scored if s.logit is not None]
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


def _prediction(example: Example, item: Scored, network: Network, cell: dict[str, str]) -> dict[str, Any]:
    assert item.logit is not None
    score = network.card.score(item.logit)
    values = {"path": example.path, "suite": example.suite, "generator": example.generator, "label": example.label}
    return {**values, "logit": item.logit, "score": score, **cell}


def _error(example: Example, item: Scored, cell: dict[str, str]) -> dict[str, str]:
    assert item.error is not None
    return {"path": example.path, "protocol": cell["protocol"], "view": cell["view"], "error": item.error}
