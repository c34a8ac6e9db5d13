"""The files of an evaluation: `predictions.tsv`, `results.json`, `table.md`, `report.html` and `examples.png`."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lfm_jax.data import views
from lfm_jax.data.audit import formats
from lfm_jax.data.sources.base import Source
from lfm_jax.data.views import ViewedSource
from lfm_jax.evaluation import plots, published
from lfm_jax.evaluation.answer_counts import answer_counts
from lfm_jax.evaluation.evaluate import PREDICTION_COLUMNS, Evaluation
from lfm_jax.evaluation.saved import PROOF
from lfm_jax.inference.network import Network
from lfm_jax.inference.records import separated
from lfm_jax.report import page
from lfm_jax.runtime.paths import write_whole
from lfm_jax.weights.integrity import json_hash


def write_files(evaluation: Evaluation, networks: Sequence[Network], source: Source, out: Path, *, data_sha256: str = "") -> None:
    """Writes the files of an evaluation of `networks` on `source` to the folder `out`, which is made if missing.

    Each file appears whole or not at all. `results.json` holds the hash of the `predictions.tsv` that it belongs to.
    """
    cards = [network.card for network in networks]
    out.mkdir(parents=True, exist_ok=True)
    table = predictions_table(evaluation.predictions).encode("utf-8", "surrogateescape")
    write_whole(out / "predictions.tsv", table)
    results = {
        "data": source.name,
        "data_sha256": data_sha256,
        "images": len(source.examples),
        "rows": evaluation.rows,
        "answers": answer_counts(evaluation.predictions),
        "published": published.beside(evaluation.rows),
        "format": formats.audit_source(source),
        "errors": evaluation.errors,
        **({"truncated": evaluation.truncated} if evaluation.truncated else {}),
        "predictions_sha256": hashlib.sha256(table).hexdigest(),
        "cards": [asdict(card) for card in cards],
        "versions": {name: version(name) for name in ("lfm_jax", "jax", "flax", "pillow", "scikit-learn")}
        | {"python": platform.python_version()},
    }
    results[PROOF] = json_hash(results)
    write_whole(out / "results.json", (json.dumps(results, indent=1, allow_nan=False) + "\n").encode())
    write_whole(out / "table.md", (evaluation.table() + "\n").encode("utf-8", "surrogateescape"))
    page.write_page(results, evaluation.predictions, source, out / "report.html", network=networks[0])
    if evaluation.predictions:
        viewed = ViewedSource(source, views.parse(evaluation.predictions[0]["view"]))
        plots.examples(evaluation.predictions, viewed, out / "examples.png")


def predictions_table(predictions: Sequence[dict[str, Any]]) -> str:
    """Predictions -> predictions.tsv."""
    rows = [PREDICTION_COLUMNS, *([p[name] for name in PREDICTION_COLUMNS] for p in predictions)]
    return "".join(separated(row, "\t") for row in rows)
