"""One HTML file that shows an evaluation: headline, tables, curves, the worst mistakes, and where it all comes from.

The page needs nothing else: no script, no font and no picture from elsewhere. Its numbers are those of results.json; the
templates and `page.css` are its looks.
"""

import datetime
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from lfm_jax.data import protocols, suites, views
from lfm_jax.data.audit import formats, report
from lfm_jax.data.sources.base import Source
from lfm_jax.data.views import ViewedSource
from lfm_jax.evaluation.answer_counts import CELL, KINDS, sentences
from lfm_jax.evaluation.metrics import HEADLINE, Metric, columns
from lfm_jax.evaluation.tables import grouped, percent
from lfm_jax.inference.network import Network
from lfm_jax.inference.verdict import ANSWERS
from lfm_jax.report import charts, gallery, notes
from lfm_jax.runtime.paths import write_whole

GRID = {view for names in views.GRID.values() for view in names}
MAX_ERRORS = 200  # files listed; all are in results.json


def write_page(
    results: Mapping[str, Any], predictions: Sequence[dict[str, Any]], source: Source, path: Path, *, network: Network
) -> None:
    """Writes the page.

    Args:
      results: what is in results.json.
      predictions: behind it.
      source: the images, under no view.
      network: the first of those evaluated; it explains the mistakes.
    """
    html = render_page(results, predictions, _galleries(predictions, source, network))
    write_whole(path, html.encode(errors="backslashreplace"))  # a file name need not be UTF-8


def render_page(results: Mapping[str, Any], predictions: Sequence[dict[str, Any]], galleries: Sequence[Mapping[str, Any]]) -> str:
    """Results, predictions and galleries of mistakes (see `gallery`) -> HTML. Every name is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lfm_jax", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "shift": _shift, "most": report.most, "below": notes.below, "sentences": sentences}
    metrics = columns(fitted=any(card["threshold"] != 0.5 for card in results["cards"]), report=True)
    environment.filters["heading"] = lambda name: metrics[name].heading
    cells = _cells(results["rows"], metrics)
    detailed = [cell for cell in cells if cell["view"] not in GRID] or cells  # the grid has a section of its own
    main = next((cell for cell in cells if cell["view"] == views.AS_IS), cells[0] if cells else None)
    side_by_side = _side_by_side(cells, main) if main else []
    answers = {tuple(counts[name] for name in CELL): counts for counts in results.get("answers", [])}
    return environment.get_template("page.html.j2").render(
        results=results,
        cells=[{**cell, "charts": _charts(cell, predictions, results["cards"])} for cell in detailed],
        main=main,
        answers_of=lambda cell: answers.get(tuple(cell[name] for name in CELL)),  # none for a mean over weights
        kinds=KINDS,
        given_answers=ANSWERS,
        metrics=metrics,
        headline=HEADLINE,
        side_by_side=side_by_side,
        by_view={cell["view"]: cell for cell in side_by_side},
        by_generator=[_by_generator(_side_by_side(group, group[0])) for group in _by_protocol(cells)],
        published=_published(results),
        robustness=[part for group in _by_protocol(cells) if (part := _robustness(group))],
        galleries=galleries,
        errors=_errors(results["errors"], several_weights=len(results["cards"]) > 1),
        max_errors=MAX_ERRORS,
        format_features=formats.FEATURES,
        format_min=formats.MIN_PER_LABEL,
        protocols={cell["protocol"]: protocols.parse(cell["protocol"]).words() for cell in cells},
        views={cell["view"]: views.parse(cell["view"]).words() for cell in detailed},
        cards=[{**card, "text": json.dumps(card, indent=1)} for card in results["cards"]],
        **_this_run(),
    )


def _this_run() -> dict[str, str]:
    """Command, date and devices. They are not in results.json, which is the same whenever and wherever it was made."""
    devices = f"{jax.device_count()} x {jax.devices()[0].device_kind} ({jax.default_backend()})"
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "devices": f"{devices}, {jax.process_count()} process{'es' * (jax.process_count() > 1)}",
    }


def _cells(rows: Sequence[dict[str, Any]], metrics: Mapping[str, Metric]) -> list[dict[str, Any]]:
    """Rows by cell, each with its `number` in results.json and its `marks`; `top` is the row over all generators."""
    numbered = [{**row, "number": number} for number, row in enumerate(rows)]
    cells = []
    for names, group in grouped(numbered, lambda row: tuple(row[name] for name in CELL)).items():
        marked = notes.marked(group, metrics)
        cells.append({**dict(zip(CELL, names, strict=True)), "rows": marked, "top": _widest_mean(marked)})
    return [cell for group in _by_protocol(cells) for cell in group]


def _widest_mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in reversed(rows) if row["level"] in ("overall", "suite"))


def _charts(
    cell: Mapping[str, Any], predictions: Sequence[dict[str, Any]], cards: Sequence[Mapping[str, Any]]
) -> list[charts.Titled]:
    """The charts of a cell; none for a mean over weights, which no predictions are behind."""
    behind = [p for p in predictions if all(p[name] == cell[name] for name in CELL)]
    if not behind:
        return []
    card = next(card for card in cards if card["weights_sha256"].startswith(cell["weights"]))
    return charts.of_cell(behind, cut=card["temperature"] * math.log(card["threshold"] / (1 - card["threshold"])))


def _by_protocol(cells: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cells with the same weights and protocol together."""
    return list(grouped(cells, lambda cell: (cell["weights"], cell["protocol"])).values())


def _side_by_side(cells: Sequence[dict[str, Any]], main: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The weights and protocol of `main` under every view that only changes the format; `main` alone if there is none."""
    same = [cell for cell in cells if all(cell[name] == main[name] for name in ("weights", "protocol"))]
    return [cell for view in views.FORMAT_VIEWS for cell in same if cell["view"] == view] or [dict(main)]


def _by_generator(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Cells that differ in their view -> `lines`: names and counts of a group, and `rows`, its row in each cell or None."""
    place = ("level", "suite", "generator")
    groups = grouped([row for cell in cells for row in cell["rows"]], lambda row: tuple(row[name] for name in place))
    lines = []
    for rows in groups.values():
        by_view = {row["view"]: row for row in rows}
        names = {name: rows[0][name] for name in (*place, "n_real", "n_fake", "marks")}
        lines.append({**names, "rows": [by_view.get(cell["view"]) for cell in cells]})
    lines.sort(key=lambda line: ("generator", "suite", "overall", "pooled").index(line["level"]))
    return {**{name: cells[0][name] for name in CELL}, "cells": cells, "lines": lines}


def _published(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Published rows, each with `ours`: the rows of the same suite, protocol and view."""
    ours: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in results["rows"]:
        if row["level"] == "suite" and (suite := suites.find(row["suite"])):
            ours.setdefault((suite.name, row["protocol"], row["view"]), []).append(row)
    return [{**known, "ours": ours[known["suite"], known["protocol"], known["view"]]} for known in results["published"]]


def _robustness(cells: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Charts of one set of weights under one protocol, with what `_by_generator` gives for the grid beside `as_is`."""
    curves = charts.robustness({cell["view"]: cell["top"] for cell in cells})
    on_grid = [cell for cell in cells if cell["view"] == views.AS_IS or cell["view"] in GRID]
    return {**_by_generator(on_grid), "charts": curves} if curves else None


def _galleries(predictions: Sequence[dict[str, Any]], source: Source, network: Network) -> list[dict[str, Any]]:
    """Mistakes of the first weights under the first protocol, for each view that only changes the format."""
    first = [p for p in predictions if all(p[name] == predictions[0][name] for name in ("weights", "protocol"))]
    galleries = []
    for (view,), group in grouped(first, lambda p: (p["view"],)).items():
        if view in views.FORMAT_VIEWS or view == predictions[0]["view"]:
            mistakes = gallery.mistakes(group, ViewedSource(source, views.parse(view)), network)
            galleries.append({"view": view, "protocol": group[0]["protocol"], "mistakes": mistakes})
    return galleries


def _errors(errors: Sequence[Mapping[str, str]], *, several_weights: bool) -> list[dict[str, Any]]:
    """One entry for each file and reason, with the cells in which it happened."""
    by_file = grouped(errors, lambda error: (error["path"], error["error"]))
    names = ("weights", "protocol", "view") if several_weights else ("protocol", "view")
    cells = {key: [" ".join(error[name] for name in names) for error in group] for key, group in by_file.items()}
    return [{"path": path, "error": reason, "cells": cells[path, reason]} for path, reason in by_file]


def _shift(cell: Mapping[str, Any], base: Mapping[str, Any], name: str) -> float | None:
    """By how many percentage points a metric is higher than in another cell."""
    before, after = base["top"][name], cell["top"][name]
    return None if before is None or after is None else 100 * (after - before)
