"""Temperature and threshold of a network, fitted on validation images, with what it takes to trust them.

In: a Network and a Source. Out: its card with what was fitted, and on what. A threshold chosen on the images that
are then reported is an oracle's: `leak` and `known_from_tests` find them, and who insists gets it marked.
"""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from lfm_jax.data import suites, views
from lfm_jax.data.sources.base import Source
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.data.sources.joined import JoinedSource
from lfm_jax.data.views import ViewedSource
from lfm_jax.errors import DataError, UserError
from lfm_jax.evaluation.bootstrap import interval, resamples
from lfm_jax.evaluation.metrics import detection_metrics
from lfm_jax.inference.network import Network
from lfm_jax.inference.scoring import score_together
from lfm_jax.weights.card import Card
from lfm_jax.weights.score import sigmoid

FEW = 100  # images of a label; below it the threshold is little more than a guess
TEMPERATURES = (0.05, 1000.0)
LARGEST = 20.0  # calibrated logit of a threshold: beyond it neighbouring logits become one score
REPLICATES = 200  # of the threshold's interval
REPORTED = {"nll": "loss", "ece": "ece", "acc": "acc_at_threshold"}


@dataclass(frozen=True)
class Fit:
    """`interval`: of the threshold, 95 % from resampled images. `remarks`: what to know before it is used."""

    temperature: float
    threshold: float
    interval: list[float] | None
    before: dict[str, float | None]
    after: dict[str, float | None]
    remarks: list[str]


def fit(labels: np.ndarray, logits: np.ndarray, objective: str, *, threshold: float = 0.5, temperature: float = 1.0) -> Fit:
    """labels [N], logits [N] -> Fit; `threshold` and `temperature` are those until now.

    `before` and `after` hold REPORTED for these same images. Raises DataError where a label has no image.
    """
    n_real, n_fake = int((labels == 0).sum()), int((labels == 1).sum())
    if not (n_real and n_fake):
        raise DataError(f"{n_real} real and {n_fake} fake images were scored: a threshold needs both")
    remarks = []
    if min(n_real, n_fake) < FEW:
        remarks.append(f"only {n_real} real and {n_fake} fake images: under {FEW} of a label the threshold is uncertain")
    most = false_alarm_limit(objective)
    if most is not None and most * n_real < 1:
        remarks.append(f"{n_real} real images cannot show a false-alarm share of {most:g}: it stands above them all")
    cut = best_cut(labels, logits, objective)
    if not logits.min() < cut < logits.max():
        remarks.append("the threshold gives one answer for all of these images")
    fitted, why = fit_temperature(labels, logits, least=abs(cut) / LARGEST)
    if why:
        remarks.append(f"temperature {fitted:.3g} is the end of the range searched: {why}")
    drawn = resamples(labels, name="calibrate", replicates=REPLICATES)
    cuts = [best_cut(np.repeat(labels, times), np.repeat(logits, times), objective) for times in drawn]
    chosen = float(sigmoid(cut / fitted))

    def report(threshold: float, temperature: float) -> dict[str, float | None]:
        metrics = detection_metrics(labels, logits, threshold=threshold, temperature=temperature)
        return {name: metrics[metric] for name, metric in REPORTED.items()}

    return Fit(
        temperature=fitted,
        threshold=chosen,
        interval=interval(sigmoid(np.array(cuts) / fitted)),
        before=report(threshold, temperature),
        after=report(chosen, fitted),
        remarks=remarks,
    )


def fit_temperature(labels: np.ndarray, logits: np.ndarray, *, least: float = 0.0) -> tuple[float, str]:
    """labels [N], logits [N] -> the temperature of the smallest mean negative log-likelihood, and why it is no optimum ("").

    The likelihood has one optimum in the temperature, at 0 where the sign of the logits gives every label and at
    infinity where they say nothing: hence TEMPERATURES. From `least` on the threshold's score is told from 0 and 1.
    """
    from scipy.optimize import minimize_scalar  # here, as it takes a second to load

    low, high = max(TEMPERATURES[0], least), max(TEMPERATURES[1], least)
    signed = np.where(labels == 1, -logits, logits).astype(np.float64)
    found = minimize_scalar(lambda t: np.logaddexp(0.0, signed * np.exp(-t)).mean(), bounds=np.log([low, high]), method="bounded")
    temperature = float(np.exp(found.x))
    if temperature > 0.999 * high:
        return temperature, "the logits hardly tell the labels apart"
    if temperature < 1.001 * low:
        return temperature, "at a lower one the threshold is no score below 1" if low == least else "the logits separate the labels"
    return temperature, ""


def best_cut(labels: np.ndarray, logits: np.ndarray, objective: str) -> float:
    """labels [N], logits [N] -> the logit above which an image is best called fake: the middle of a gap between two images.

    accuracy: most images right. balanced: the mean of the two labels' accuracies. Of equal gaps the widest. fpr=F: the
    lowest gap with at most that share of the real images above it.
    """
    distinct, place = np.unique(logits.astype(np.float64), return_inverse=True)
    # Gap i lies below distinct[i]; the two outer ones are given a width, to have a middle.
    edges = np.concatenate([distinct[:1] - 2, distinct, distinct[-1:] + 2])
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    widths[[0, -1]] = 0  # the last choice among equals
    totals = {label: int((labels == label).sum()) for label in (0, 1)}
    below = {
        label: np.concatenate([[0], np.cumsum(np.bincount(place, labels == label, len(distinct)))]).astype(np.int64)
        for label in (0, 1)
    }
    accused, caught = totals[0] - below[0], totals[1] - below[1]
    most = false_alarm_limit(objective)
    if most is not None:
        return float(middles[np.argmax(accused / totals[0] <= most)])
    merit = caught - accused if objective == "accuracy" else caught * totals[0] - accused * totals[1]
    return float(middles[np.argmax(np.where(merit == merit.max(), widths, -1))])


def false_alarm_limit(objective: str) -> float | None:
    """fpr=F -> F; None for the other objectives. Raises UserError for what is none."""
    if objective in ("accuracy", "balanced"):
        return None
    try:
        name, share = objective.split("=")
        if name == "fpr" and 0 <= float(share) < 1:
            return float(share)
    except ValueError:
        pass
    raise UserError(
        f"unknown objective {objective!r}: expected accuracy, balanced, or fpr=F with F from 0 to below 1, e.g. fpr=0.01"
    )


def leak(source: FileSource | JoinedSource) -> str | None:
    """Why images of `source` are test data, by the names of the folders that they truly lie in, or of the prepared
    splits; None where nothing says so.

    The train and val splits of a known suite are not.
    """
    if isinstance(source, JoinedSource):
        return next(filter(None, map(_reason_of_split, source.parts)), None)
    root = source.root.absolute()
    files = {root / example.path for example in source.examples}
    folders = {file.parent for file in files} | {file.resolve().parent for file in files}
    for folder in sorted(folders):
        reason = next(_reasons(folder), None)
        if reason:
            return reason
    return None


def _reasons(folder: Path) -> Iterator[str]:
    below = ""
    for part in (folder, *folder.parents):
        suite = suites.find(part.name)
        if suite and not (suite.training and below in ("train", "val")):
            yield f"{part} is {suite.name}, a test suite"
        if part.name.casefold() == "test" and any((part.parent / split).is_dir() for split in ("train", "val")):
            yield f"{part} is a test split"
        below = part.name.casefold()


def _reason_of_split(name: str) -> str | None:
    dataset, _, split = name.rpartition("/")
    suite = suites.find(dataset)
    if suite and not (suite.training and split != "test"):
        return f"{name} is {suite.name}, a test suite"
    return f"{name} is a test split" if split == "test" else None


def known_from_tests(weights: Path, data_sha256: str) -> str | None:
    """Why data of this hash is test data, by the results that a training workdir holds."""
    for path in sorted(weights.glob("test/*/results.json")):
        if json.loads(path.read_text()).get("data_sha256") == data_sha256:
            return f"these images are what {path.parent} was tested on"
    return None


def calibrate(
    network: Network,
    source: Source,
    *,
    protocol: str,
    view: str = "native",
    objective: str = "accuracy",
    oracle: str | None = None,
    data_sha256: str = "",
    batch_size: int = 32,
    threads: int = 8,
) -> tuple[Card, list[dict[str, str]]]:
    """Score `source` and fit -> the card with temperature, threshold and `calibration`, and what was not scored.

    `oracle`: why these are test images, None where they are not.
    """
    viewed = ViewedSource(source, views.parse(view))
    scored = score_together(network, viewed, protocol, batch_size=batch_size, threads=threads)
    examples, card = source.examples, network.card
    labels = np.array([examples[item.index].label for item in scored if item.logit is not None])
    logits = np.array([item.logit for item in scored if item.logit is not None])
    found = fit(labels, logits, objective, threshold=card.threshold, temperature=card.temperature)
    calibration = {
        "data": source.name,
        "data_sha256": data_sha256,
        "n_real": int((labels == 0).sum()),
        "n_fake": int((labels == 1).sum()),
        "protocol": protocol,
        "view": view,
        "objective": objective,
        "threshold_interval": found.interval,
        "before": found.before,
        "after": found.after,
        "oracle": oracle is not None,
        "remarks": [*([oracle] if oracle else []), *found.remarks],
    }
    fitted = dataclasses.replace(card, temperature=found.temperature, threshold=found.threshold, calibration=calibration)
    errors = [{"path": examples[item.index].path, "error": item.error} for item in scored if item.error is not None]
    return fitted, errors


def table(before: Card, after: Card) -> str:
    """Cards before and after `calibrate` -> what was fitted, and what it makes of the same images."""
    kept = after.calibration
    heads = ["", "temperature", "threshold", "NLL", "ECE", "ACC"]
    lines = [
        [name, f"{card.temperature:.4g}", f"{card.threshold:.4f}", *(f"{kept[name][metric]:.4f}" for metric in REPORTED)]
        for name, card in {"before": before, "after": after}.items()
    ]
    low, high = kept["threshold_interval"]
    images = f"{kept['n_real']} real and {kept['n_fake']} fake images of {kept['data']}, {kept['protocol']}, view {kept['view']}"
    share = (
        f"threshold for {kept['objective']}, 95 % interval {low:.4f} to {high:.4f}; the figures are of the images it was fitted on"
    )
    shown = tabulate(lines, heads, tablefmt="simple", disable_numparse=True, colalign=["left"] + ["right"] * 5)
    return f"{images}\n\n{shown}\n\n{share}"
