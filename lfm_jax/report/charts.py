"""The charts of a report: ROC, precision-recall, scores and reliability of one cell; robustness over many."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from lfm_jax.data import views
from lfm_jax.evaluation.metrics import HEADLINE, METRICS
from lfm_jax.evaluation.ranking import ECE_BINS
from lfm_jax.report.svg import Frame, Tick

POINTS = 200  # of a curve at most
HISTOGRAM_BINS = 30  # or a few more, since their edges are round numbers
TOPS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)  # where the axis of a histogram may end
PER_STRENGTH, NARROWEST = 33, 96  # px of a robustness chart
APART = 3  # px from ACC and AP of one strength to the middle, so that neither hides the other's interval
Titled = tuple[str, Markup]  # a chart's title and its SVG


def of_cell(predictions: Sequence[Mapping[str, Any]], *, cut: float) -> list[Titled]:
    """Charts over all images of one cell together; none if a label is missing.

    Args:
      predictions: dicts with label, logit and score.
      cut: the logit of the threshold.
    """
    labels = np.array([p["label"] for p in predictions])
    logits = np.array([p["logit"] for p in predictions])
    scores = np.array([p["score"] for p in predictions])
    if len(set(labels.tolist())) < 2:
        return []
    ranked = [_roc(labels, logits, cut), _precision_recall(labels, logits, cut)]
    return [*ranked, _histogram(labels, logits, cut), _reliability(labels, scores)]


def _roc(labels: np.ndarray, logits: np.ndarray, cut: float) -> Titled:
    from sklearn.metrics import roc_curve  # here, as it takes a second to load

    frame = Frame()
    fpr, tpr, _ = roc_curve(labels, logits)
    here = float((logits[labels == 0] > cut).mean()), float((logits[labels == 1] > cut).mean())
    marks = [frame.line([(0, 0), (1, 1)], "guide"), frame.line(_thinned(fpr, tpr), "ap"), frame.dot(here, "cut", radius=4.5)]
    return "ROC", frame.chart("ROC", marks, x="reals called fake, %", y="fakes found, %")


def _precision_recall(labels: np.ndarray, logits: np.ndarray, cut: float) -> Titled:
    from sklearn.metrics import precision_recall_curve

    frame = Frame()
    precision, recall, _ = precision_recall_curve(labels, logits, drop_intermediate=True)
    share = float(np.mean(labels))
    marks = [frame.line([(0, share), (1, share)], "guide"), frame.line(_thinned(recall, precision), "ap")]
    called_fake = logits > cut
    if called_fake.any():
        marks.append(frame.dot((float(called_fake[labels == 1].mean()), float(labels[called_fake].mean())), "cut", radius=4.5))
    title = "Precision and recall"
    return title, frame.chart(title, marks, x="fakes found, %", y="fakes among those called fake, %")


def _histogram(labels: np.ndarray, logits: np.ndarray, cut: float) -> Titled:
    """Reals upwards and fakes downwards, over the logit, because scores crowd at 0 and 1."""
    frame, ticks = Frame(), _round_steps(min(logits.min(), cut), max(logits.max(), cut))
    bins = (len(ticks) - 1) * math.ceil(HISTOGRAM_BINS / (len(ticks) - 1))
    edges = np.linspace(ticks[0], ticks[-1], bins + 1)
    shares = [np.histogram(logits[labels == label], edges)[0] / (labels == label).sum() for label in (0, 1)]
    top = min(top for top in TOPS if top >= max(share.max() for share in shares) - 1e-9)
    places = (edges - edges[0]) / (edges[-1] - edges[0])
    marks = [
        frame.bar(left, right, 0.5, 0.5 + sign * height / top / 2, kind)
        for kind, sign, share in (("real", 1, shares[0]), ("fake", -1, shares[1]))
        for left, right, height in zip(places[:-1], places[1:], share, strict=True)
        if height
    ]
    at = (cut - edges[0]) / (edges[-1] - edges[0])
    marks += [frame.line([(at, 0), (at, 1)], "guide"), frame.text((0, 1), "real", dx=4, dy=11, anchor="start")]
    marks.append(frame.text((0, 0), "fake", dx=4, dy=-5, anchor="start"))
    y_ticks = [(y, f"{100 * top * abs(2 * y - 1):.3g}") for y in (0, 0.25, 0.5, 0.75, 1)]
    x_ticks = [((tick - ticks[0]) / (ticks[-1] - ticks[0]), f"{tick:g}") for tick in ticks]
    return "Scores", frame.chart("Scores", marks, x="logit", y="share of the label, %", x_ticks=x_ticks, y_ticks=y_ticks)


def _round_steps(low: float, high: float) -> list[float]:
    """Four to nine round numbers at even steps, from below `low` to above `high`."""
    rough = max(high - low, 1e-3) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(digit * power for digit in (1, 2, 5) if digit * power <= rough)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _reliability(labels: np.ndarray, scores: np.ndarray) -> Titled:
    """A dot for each bin of the calibration error; its area is the share of the images in it."""
    frame = Frame()
    bins = np.minimum((scores * ECE_BINS).astype(int), ECE_BINS - 1)
    marks = [frame.line([(0, 0), (1, 1)], "guide")]
    for number in np.unique(bins):
        members = bins == number
        point = float(scores[members].mean()), float(labels[members].mean())
        marks.append(frame.dot(point, "ap", radius=2 + 8 * float(np.sqrt(members.mean()))))
    x_ticks: list[Tick] = [(at, f"{at:g}") for at in (0, 0.25, 0.5, 0.75, 1)]
    return "Reliability", frame.chart("Reliability", marks, x="mean score", y="fakes among them, %", x_ticks=x_ticks)


def _thinned(xs: np.ndarray, ys: np.ndarray) -> Iterator[tuple[float, float]]:
    """At most POINTS points of a curve, including its ends."""
    chosen = np.unique(np.linspace(0, len(xs) - 1, POINTS).round().astype(int))
    return zip(xs[chosen].tolist(), ys[chosen].tolist(), strict=True)


def robustness(rows: Mapping[str, Mapping[str, Any]]) -> list[Titled]:
    """Rows by view, all with the same weights and protocol -> a chart for each kind of damage that was evaluated."""
    curves = {kind: [rows[name] for name in names if name in rows] for kind, names in views.GRID.items()}
    return [_curve(kind, members, rows.get(views.AS_IS)) for kind, members in curves.items() if members]


def _curve(kind: str, rows: Sequence[Mapping[str, Any]], undamaged: Mapping[str, Any] | None) -> Titled:
    """ACC as squares, AP as dots, each over the strength of the damage."""
    title, _, unit = kind.partition(", ")
    frame = Frame(width=max(PER_STRENGTH * len(rows), NARROWEST), height=170)
    places = [(index + 0.5) / len(rows) for index in range(len(rows))]
    marks: list[Markup] = []
    styles: tuple[tuple[int, Callable[..., Markup]], ...] = ((-1, frame.square), (1, frame.dot))
    for name, (sign, mark) in zip(HEADLINE, styles, strict=True):
        if undamaged and undamaged[name] is not None:
            marks.append(frame.line([(0, undamaged[name]), (1, undamaged[name])], f"guide {name}"))
        aside = sign * APART / frame.width
        known = [(x + aside, row) for x, row in zip(places, rows, strict=True) if row[name] is not None]
        for x, row in known:
            if row.get("interval", {}).get(name):
                marks.append(frame.line([(x, end) for end in row["interval"][name]], f"whisker {name}"))
        points = [(x, row[name]) for x, row in known]
        marks += [frame.line(points, name), *(mark(point, name) for point in points)]
    x_ticks = [(x, _amount(row["view"])) for x, row in zip(places, rows, strict=True)]
    headings = " and ".join(METRICS[name]().heading for name in HEADLINE)
    return title, frame.chart(title, marks, x=unit, y=f"{headings}, %", x_ticks=x_ticks)


def _amount(view: str) -> str:
    return " + ".join(f"{amount:g}" for _, amount in views.parse(view).steps)
