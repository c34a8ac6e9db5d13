"""The charts of a report: ROC, precision-recall, scores and reliability of one cell; robustness over many.

In: predictions (dicts with label, logit, score), or rows of results. Out: (title, SVG) pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from lfm_jax.data import views
from lfm_jax.metrics import ECE_BINS
from lfm_jax.report import svg

POINTS = 200  # of a curve at most
HISTOGRAM_BINS = 20
Titled = tuple[str, Markup]


def of_cell(predictions: Sequence[Mapping[str, Any]]) -> list[Titled]:
    """Charts over all images of one cell together; none where a label is missing."""
    labels = np.array([p["label"] for p in predictions])
    logits = np.array([p["logit"] for p in predictions])
    scores = np.array([p["score"] for p in predictions])
    if len(set(labels.tolist())) < 2:
        return []
    return [_roc(labels, logits), _precision_recall(labels, logits), _histogram(labels, scores), _reliability(labels, scores)]


def _roc(labels: np.ndarray, logits: np.ndarray) -> Titled:
    from sklearn.metrics import roc_curve  # here, as it takes a second to load

    accused, found, _ = roc_curve(labels, logits)
    marks = [svg.line([(0, 0), (1, 1)], "guide"), svg.line(_thinned(accused, found), "ap")]
    return "ROC", svg.chart("ROC", marks, x="reals called fake, %", y="fakes found, %")


def _precision_recall(labels: np.ndarray, logits: np.ndarray) -> Titled:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, logits, drop_intermediate=True)
    share = float(np.mean(labels))
    marks = [svg.line([(0, share), (1, share)], "guide"), svg.line(_thinned(recall, precision), "ap")]
    return "Precision and recall", svg.chart(
        "Precision and recall", marks, x="fakes found, %", y="fakes among those called fake, %"
    )


def _histogram(labels: np.ndarray, scores: np.ndarray) -> Titled:
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    shares = {
        kind: np.histogram(scores[labels == label], edges)[0] / (labels == label).sum()
        for label, kind in enumerate(("real", "fake"))
    }
    top = max(share.max() for share in shares.values())
    marks = [
        svg.bar(left, right, height / top, kind)
        for kind, share in shares.items()
        for left, right, height in zip(edges[:-1], edges[1:], share, strict=True)
        if height
    ]
    y_ticks = [(at, f"{100 * at * top:.0f}") for at in (0, 0.5, 1)]
    x_ticks = [(at, f"{at:g}") for at in (0, 0.25, 0.5, 0.75, 1)]
    return "Scores", svg.chart("Scores", marks, x="score", y="share of the label, %", x_ticks=x_ticks, y_ticks=y_ticks)


def _reliability(labels: np.ndarray, scores: np.ndarray) -> Titled:
    """A dot for each bin of the calibration error, its area by how many images are in it."""
    bins = np.minimum((scores * ECE_BINS).astype(int), ECE_BINS - 1)
    marks = [svg.line([(0, 0), (1, 1)], "guide")]
    for each in np.unique(bins):
        members = bins == each
        point = float(scores[members].mean()), float(labels[members].mean())
        marks.append(svg.dot(point, "ap", radius=2 + 10 * float(np.sqrt(members.mean()))))
    x_ticks = [(at, f"{at:g}") for at in (0, 0.25, 0.5, 0.75, 1)]
    return "Reliability", svg.chart("Reliability", marks, x="mean score", y="fakes among them, %", x_ticks=x_ticks)


def _thinned(xs: np.ndarray, ys: np.ndarray) -> Iterator[tuple[float, float]]:
    """At most POINTS of a curve, its ends among them."""
    kept = np.unique(np.linspace(0, len(xs) - 1, POINTS).round().astype(int))
    return zip(xs[kept].tolist(), ys[kept].tolist(), strict=True)


def robustness(rows: Mapping[str, Mapping[str, Any]]) -> list[Titled]:
    """Rows by view, of one set of weights under one protocol -> a chart for each kind of damage that was run."""
    curves = {kind: [rows[name] for name in names if name in rows] for kind, names in views.GRID.items()}
    return [(kind, _curve(kind, found, rows.get("native"))) for kind, found in curves.items() if found]


def _curve(kind: str, rows: Sequence[Mapping[str, Any]], native: Mapping[str, Any] | None) -> Markup:
    places = [(index + 0.5) / len(rows) for index in range(len(rows))]
    marks: list[Markup] = []
    for name in ("acc", "ap"):
        if native and native[name] is not None:
            marks.append(svg.line([(0, native[name]), (1, native[name])], f"guide {name}"))
        known = [(x, row) for x, row in zip(places, rows, strict=True) if row[name] is not None]
        for x, row in known:
            if row.get("interval", {}).get(name):
                marks.append(svg.line([(x, end) for end in row["interval"][name]], f"whisker {name}"))
        points = [(x, row[name]) for x, row in known]
        marks += [svg.line(points, name), *(svg.dot(point, name) for point in points)]
    x_ticks = [(x, _amount(row["view"])) for x, row in zip(places, rows, strict=True)]
    return svg.chart(kind, marks, x=kind, y="%", x_ticks=x_ticks)


def _amount(view: str) -> str:
    return " + ".join(f"{amount:g}" for _, amount in views.parse(view).steps)
