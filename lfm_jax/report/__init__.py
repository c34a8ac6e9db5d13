"""One HTML file that shows an evaluation: headline, tables, curves, the worst mistakes, where it all comes from.

In: what results.json holds, the predictions and the images. Out: a page that needs nothing else: no script, no
font and no picture from elsewhere. Its numbers are those of results.json; `page.html.j2` and `page.css` are its look.
"""

import datetime
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lfm_jax.data import protocols, views
from lfm_jax.data.sources import Source
from lfm_jax.data.views import ViewedSource
from lfm_jax.detector import Detector
from lfm_jax.report import charts, gallery
from lfm_jax.tables import grouped, percent

CELL = ("weights", "protocol", "view")
MAX_ERRORS = 200  # files listed; all are in results.json
# Metrics of a table, in this order. Those of WITH_INTERVAL carry theirs.
COLUMNS = {
    **{"acc": "ACC", "real_acc": "real ACC", "fake_acc": "fake ACC", "ap": "AP", "auc": "AUC", "eer": "EER"},
    **{"tpr_at_1_fpr": "TPR at 1 % FPR", "tpr_at_5_fpr": "TPR at 5 % FPR", "brier": "Brier", "ece": "ECE"},
}
AT_THRESHOLD = {"acc_at_threshold": "ACC at threshold"}  # a column of its own where that is not 0.5
WITH_INTERVAL = ("acc", "ap", "auc")


def write(
    results: Mapping[str, Any], predictions: Sequence[dict[str, Any]], source: Source, path: Path, *, detector: Detector
) -> None:
    """What is in results.json, the predictions behind it and the `detector` of the first of them -> `path`."""
    page = render(results, predictions, _pictures(predictions, source, detector))
    # A file name need not be UTF-8.
    path.write_text(page, encoding="utf-8", errors="backslashreplace")


def render(results: Mapping[str, Any], predictions: Sequence[dict[str, Any]], pictures: Sequence[Mapping[str, Any]]) -> str:
    """Results, predictions and galleries (see `_pictures`) -> HTML. Every name is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lfm_jax", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "shift": _shift}
    cells = _cells(results["rows"], predictions)
    main = next((cell for cell in cells if cell["view"] == "native"), cells[0] if cells else None)
    side_by_side = _side_by_side(cells, main)
    calibrated = any(card["threshold"] != 0.5 for card in results["cards"])
    return environment.get_template("page.html.j2").render(
        results=results,
        cells=cells,
        main=main,
        columns=COLUMNS | (AT_THRESHOLD if calibrated else {}),
        with_interval=WITH_INTERVAL,
        side_by_side=side_by_side,
        named={cell["view"]: cell for cell in side_by_side},
        robustness=_robustness(cells),
        pictures=pictures,
        errors=_errors(results["errors"]),
        max_errors=MAX_ERRORS,
        protocols={cell["protocol"]: protocols.parse(cell["protocol"]).words() for cell in cells},
        views={cell["view"]: views.parse(cell["view"]).words() for cell in cells},
        cards=[{**card, "text": json.dumps(card, indent=1)} for card in results["cards"]],
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _cells(rows: Sequence[dict[str, Any]], predictions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by cell, each with its number in results.json; `top` is the row over all. Means over weights come last."""
    behind = grouped(predictions, lambda p: tuple(p[name] for name in CELL))
    cells = []
    for names, numbered in grouped(enumerate(rows), lambda pair: tuple(pair[1][name] for name in CELL)).items():
        cell = dict(zip(CELL, names, strict=True))
        drawn = charts.of_cell(behind[names]) if names in behind else []
        top = numbered[-1][1]  # over all suites, or over the one there is
        cells.append({**cell, "rows": numbered, "top": top, "charts": drawn})
    return cells


def _side_by_side(cells: Sequence[dict[str, Any]], main: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Cells of the headline: the weights and protocol of `main` under each view that changes the format alone."""
    same = [cell for cell in cells if main and all(cell[name] == main[name] for name in ("weights", "protocol"))]
    return [cell for view in views.FORMAT_VIEWS for cell in same if cell["view"] == view] or ([dict(main)] if main else [])


def _robustness(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for (weights, protocol), group in grouped(cells, lambda cell: (cell["weights"], cell["protocol"])).items():
        drawn = charts.robustness({cell["view"]: cell["top"] for cell in group})
        found += [{"weights": weights, "protocol": protocol, "charts": drawn}] if drawn else []
    return found


def _pictures(predictions: Sequence[dict[str, Any]], source: Source, detector: Detector) -> list[dict[str, Any]]:
    """Mistakes of the first weights under the first protocol, for each view that changes the format alone."""
    first = [p for p in predictions if all(p[name] == predictions[0][name] for name in ("weights", "protocol"))]
    shown = []
    for (view,), group in grouped(first, lambda p: (p["view"],)).items():
        if view in views.FORMAT_VIEWS or view == predictions[0]["view"]:
            found = gallery.mistakes(group, ViewedSource(source, views.parse(view)), detector)
            shown.append({"view": view, "protocol": group[0]["protocol"], "mistakes": found})
    return shown


def _errors(errors: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """One for each file and reason, with the cells in which it happened."""
    by_file = grouped(errors, lambda error: (error["path"], error["error"]))
    cells = {key: [f"{error['protocol']} {error['view']}" for error in group] for key, group in by_file.items()}
    return [{"path": path, "error": reason, "cells": cells[path, reason]} for path, reason in by_file]


def _shift(cell: Mapping[str, Any], base: Mapping[str, Any], name: str) -> float | None:
    """By how many points (of 100) a metric is above that of another cell."""
    there, here = base["top"][name], cell["top"][name]
    return None if there is None or here is None else 100 * (here - there)
