"""The files of an evaluation: `predictions.tsv`, `results.json`, `table.md`, `report.html` and `examples.png`."""

import csv
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from lfm_jax.data import views
from lfm_jax.data.audit import formats
from lfm_jax.data.sources.base import Source
from lfm_jax.data.views import ViewedSource
from lfm_jax.evaluation import plots, published
from lfm_jax.evaluation.evaluate import PREDICTION_COLUMNS, Evaluation
from lfm_jax.inference.network import Network
from lfm_jax.report import page


def write_files(evaluation: Evaluation, networks: Sequence[Network], source: Source, out: Path, *, data_sha256: str = "") -> None:
    """Writes the files of an evaluation of `networks` on `source` to the folder `out`, which is made if missing."""
    cards = [network.card for network in networks]
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
        "format": formats.audit_source(source),
        "errors": evaluation.errors,
        "cards": [asdict(card) for card in cards],
        "versions": {name: version(name) for name in ("lfm_jax", "jax", "flax", "pillow", "scikit-learn")}
        | {"python": platform.python_version()},
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "table.md").write_text(evaluation.table() + "\n")
    page.write_page(results, evaluation.predictions, source, out / "report.html", network=networks[0])
    if evaluation.predictions:
        viewed = ViewedSource(source, views.parse(evaluation.predictions[0]["view"]))
        plots.examples(evaluation.predictions, viewed, cards[0], out / "examples.png")
