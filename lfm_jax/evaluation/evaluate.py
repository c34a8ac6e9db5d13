"""Evaluation of a network on labelled images: predictions, metrics per generator, per suite and overall, and a table.

Files that cannot be scored are named and counted out. Rows of different weights, protocols or views are never averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lfm_jax.data import views as views_lib
from lfm_jax.data.protocols import parse
from lfm_jax.data.sources.base import Example, Source
from lfm_jax.data.views import ViewedSource
from lfm_jax.evaluation import published, tables
from lfm_jax.evaluation.cell_scoring import score_cell
from lfm_jax.evaluation.cells import CellStore
from lfm_jax.evaluation.terminal_table import terminal_table
from lfm_jax.inference.answers import wrapped
from lfm_jax.inference.network import Network
from lfm_jax.inference.prediction import Prediction
from lfm_jax.inference.scoring import Scored
from lfm_jax.inference.verdict import Picture

PREDICTION_COLUMNS = ("path", "suite", "generator", "label", "logit", "score", "protocol", "view", "weights")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      rows: one per cell and group, with `level` generator, suite or overall and metrics in [0, 1]; see `tables`.
      predictions: one per scored image and cell, dicts with PREDICTION_COLUMNS, and `verdict` and `why` as `lfm predict` gives.
      errors: one per image and cell that could not be scored, dicts with path, protocol, view, weights and error.
      truncated: one per image and cell that is cut and was scored all the same, dicts likewise; see `images.take_truncated`.
    """

    rows: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    errors: list[dict[str, str]]
    truncated: list[dict[str, str]] = field(default_factory=list)

    def row(self, level: str, **names: str) -> dict[str, Any]:
        """The only row of that level with these names (suite=, generator=, protocol=, view=, weights=)."""
        names |= {"level": level}
        (row,) = (row for row in self.rows if names.items() <= row.items())
        return row

    def table(self, width: int | None = None) -> str:
        """A table in percent, followed by the published results that are comparable with it.

        It is Markdown and complete; with a `width`, that of a terminal, it fits it.
        """
        comparable = published.beside(self.rows)
        if width:
            lines = [terminal_table(self.rows, width), *(wrapped(line, width) for line in published.sentences(comparable))]
            return "\n".join(lines)
        return tables.markdown(self.rows) + (f"\n\n{published.markdown(comparable)}" if comparable else "")


def evaluate_network(
    network: Network,
    source: Source,
    protocols: Sequence[str],
    *,
    views: Sequence[str] = (views_lib.AS_IS,),
    batch_size: int = 32,
    threads: int = 8,
    cells: CellStore | None = None,
) -> Evaluation:
    """Scores every labelled example of `source` under every view and protocol, except what `cells` already holds.

    All processes score their share; the evaluation is that of process 0, and empty on the others.
    """
    rows, predictions, errors, truncated = [], [], [], []
    options: dict[str, Any] = {name: getattr(network.card, name) for name in ("threshold", "temperature", "oracle")}
    for view in map(views_lib.parse, views):
        viewed = ViewedSource(source, view)
        for protocol in protocols:
            cell = {"weights": network.card.weights_sha256[:12], "protocol": protocol, "view": view.name}
            items = score_cell(network, viewed, cell, cells, batch_size=batch_size, threads=threads)
            scored = [_prediction(source.examples[item.index], item, network, cell) for item in items if item.logit is not None]
            errors += [_error(source.examples[item.index], item, cell) for item in items if item.error is not None]
            truncated += [
                {"path": source.examples[item.index].path, **cell, "error": item.truncated} for item in items if item.truncated
            ]
            predictions += scored
            rows += tables.cell_rows(scored, cell, **options)
    return Evaluation(rows, predictions, errors, truncated)


def join_evaluations(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of several weights on the same images -> one, ending in rows of their mean and deviation."""
    rows = [row for evaluation in evaluations for row in evaluation.rows]
    return Evaluation(
        rows + (tables.seed_rows(rows) if len(evaluations) > 1 else []),
        [prediction for evaluation in evaluations for prediction in evaluation.predictions],
        [error for evaluation in evaluations for error in evaluation.errors],
        [record for evaluation in evaluations for record in evaluation.truncated],
    )


def _prediction(example: Example, item: Scored, network: Network, cell: dict[str, str]) -> dict[str, Any]:
    assert item.logit is not None
    picture = Picture(item.width, item.height, parse(cell["protocol"]), item.flat, item.facts)
    answered = Prediction.of(item.logit, network.card, picture)
    values = {"path": example.path, "suite": example.suite, "generator": example.generator, "label": example.label}
    scored = {"logit": item.logit, "score": answered.score, **cell}
    return {**values, **scored, "verdict": answered.verdict, "why": answered.why}


def _error(example: Example, item: Scored, cell: dict[str, str]) -> dict[str, str]:
    assert item.error is not None
    return {"path": example.path, **cell, "error": item.error}
