"""Temperature and threshold fitted to the logits of labelled images, with what it takes to trust them."""

from dataclasses import dataclass

import numpy as np

from lfm_jax.errors import DataError, UserError
from lfm_jax.evaluation.bootstrap import EXACT_UP_TO, drawn_one_by_one, interval, resamples
from lfm_jax.evaluation.histogram import Histogram
from lfm_jax.evaluation.metrics import detection_metrics
from lfm_jax.weights.score import sigmoid

FEW = 100  # images of a label; with fewer the threshold is little more than a guess
TEMPERATURES = (0.05, 1000.0)  # range searched
NEAR_CHANCE = 0.65  # of real and fake images called correctly, the labels counting alike; guessing gets half
TELLS_LITTLE = 0.9  # of the loss of an answer that is the same for all images
LARGEST_CUT = 20.0  # calibrated logit of a threshold: beyond it neighbouring logits have the same score
REPLICATES = 200  # for the threshold's interval
REPORTED = {"nll": "loss", "ece": "ece", "acc": "acc_at_threshold"}  # name in a card -> name in METRICS


@dataclass(frozen=True)
class Fit:
    """A fitted temperature and threshold.

    Attributes:
      interval: 95 % interval of the threshold, from resampled images; None if these are too few to tell.
      before, after: REPORTED on these same images with the previous and with the fitted values.
      remarks: what to know before using it.
    """

    temperature: float
    threshold: float
    interval: list[float] | None
    before: dict[str, float | None]
    after: dict[str, float | None]
    remarks: list[str]


def fit(labels: np.ndarray, logits: np.ndarray, objective: str, *, threshold: float = 0.5, temperature: float = 1.0) -> Fit:
    """labels [N], logits [N] -> Fit; `threshold` and `temperature` are the values in use so far.

    Raises:
      DataError: a label has no image.
    """
    require_both(labels)
    cut = best_cut(labels, logits, objective)
    fitted, why = fit_temperature(labels, logits, least=abs(cut) / LARGEST_CUT)
    chosen = float(sigmoid(cut / fitted))
    cuts = _resampled_cuts(labels, logits, objective)
    remarks = _useless(labels, logits, fitted) + _remarks(labels, logits, objective, cut)
    if why:
        remarks.append(f"temperature {fitted:.3g} is the end of the range searched: {why}")

    def report(threshold: float, temperature: float) -> dict[str, float | None]:
        metrics = detection_metrics(labels, logits, threshold=threshold, temperature=temperature)
        return {name: metrics[metric] for name, metric in REPORTED.items()}

    return Fit(
        temperature=fitted,
        threshold=chosen,
        interval=interval(sigmoid(np.array(cuts) / fitted), chosen),
        before=report(threshold, temperature),
        after=report(chosen, fitted),
        remarks=remarks,
    )


def _resampled_cuts(labels: np.ndarray, logits: np.ndarray, objective: str) -> list[float]:
    """The best cut for each of REPLICATES resamples of the images."""
    if len(labels) <= EXACT_UP_TO:
        draws = resamples(labels, name="calibrate", replicates=REPLICATES)
        return [best_cut(np.repeat(labels, times), np.repeat(logits, times), objective) for times in draws]
    distinct, places = np.unique(logits.astype(np.float64), return_inverse=True)
    cuts = []
    for drawn in drawn_one_by_one(labels, name="calibrate", replicates=REPLICATES):
        counts = np.stack([np.bincount(places[members], minlength=len(distinct)) for members in drawn], -1)
        there = counts.any(1)
        cuts.append(_best_cut_of(Histogram(distinct[there], counts[there]), objective))
    return cuts


def require_both(labels: np.ndarray) -> None:
    n_real, n_fake = counts(labels)
    if not (n_real and n_fake):
        raise DataError(f"{n_real} real and {n_fake} fake images were scored: a threshold needs both")


def counts(labels: np.ndarray) -> tuple[int, int]:
    """Real and fake images."""
    return int((labels == 0).sum()), int((labels == 1).sum())


def _remarks(labels: np.ndarray, logits: np.ndarray, objective: str, cut: float) -> list[str]:
    n_real, n_fake = counts(labels)
    remarks = []
    if min(n_real, n_fake) < FEW:
        remarks.append(f"only {n_real} real and {n_fake} fake images: with under {FEW} of a label the threshold is uncertain")
    limit = false_alarm_limit(objective)
    if limit is not None and limit * n_real < 1:
        remarks.append(f"{n_real} real images cannot show a false-alarm share of {limit:g}: the threshold is above them all")
    if not logits.min() < cut < logits.max():
        remarks.append("the threshold gives one answer for all of these images")
    return remarks


def _useless(labels: np.ndarray, logits: np.ndarray, temperature: float) -> list[str]:
    """Warnings where weights hardly tell these images apart, by any threshold, or where their scores are no probabilities."""
    warnings = []
    cut = best_cut(labels, logits, "balanced")
    most = float(((logits[labels == 1] > cut).mean() + (logits[labels == 0] <= cut).mean()) / 2)
    if most < NEAR_CHANCE:
        warnings.append(
            f"warning: these weights hardly tell such images apart: the best of all thresholds calls {100 * most:.0f} % of real "
            "and fake images correctly, the labels counting alike, and guessing gets 50 %. No threshold mends that; try "
            "another --protocol or other weights"
        )
    loss = detection_metrics(labels, logits, temperature=temperature)["loss"]
    share = float(labels.mean())
    same_for_all = -share * np.log(share) - (1 - share) * np.log1p(-share)
    if loss is not None and loss > TELLS_LITTLE * same_for_all:
        low, high = sigmoid(np.quantile(logits, [0.05, 0.95]) / temperature)
        warnings.append(
            f"warning: temperature {temperature:.3g} moves the scores of nine images in ten to between {low:.2f} and {high:.2f} "
            f"(loss {loss:.3f}; the same score for all images has {same_for_all:.3f}): read them as an order, not as probabilities"
        )
    return warnings


def fit_temperature(labels: np.ndarray, logits: np.ndarray, *, least: float = 0.0) -> tuple[float, str]:
    """Finds the temperature with the smallest mean negative log-likelihood.

    The likelihood has one optimum in the temperature: at 0 if the sign of the logits gives every label, at infinity if
    they say nothing. TEMPERATURES keeps it finite.

    Args:
      labels, logits: [N].
      least: the smallest temperature at which the threshold's score can be told from 0 and 1.

    Returns:
      The temperature, and why it is not an optimum ("" if it is one).
    """
    from scipy.optimize import minimize_scalar  # here, as it takes a second to load

    low, high = max(TEMPERATURES[0], least), max(TEMPERATURES[1], least)
    signed = np.where(labels == 1, -logits, logits).astype(np.float64)
    best = minimize_scalar(lambda t: np.logaddexp(0.0, signed * np.exp(-t)).mean(), bounds=np.log([low, high]), method="bounded")
    temperature = float(np.exp(best.x))
    if temperature > 0.999 * high:
        return temperature, "the logits hardly tell the labels apart"
    if temperature < 1.001 * low:
        rounded = "below it the threshold would not be a score below 1"
        return temperature, rounded if low == least else "the logits separate the labels"
    return temperature, ""


def best_cut(labels: np.ndarray, logits: np.ndarray, objective: str) -> float:
    """Finds the logit above which an image is best called fake: the middle of a gap between two images' logits.

    Args:
      labels, logits: [N].
      objective: `accuracy`: most images called correctly. `balanced`: the best mean of the two labels' accuracies. Among
        equally good gaps, the widest. `fpr=F`: the lowest gap with at most that share of the real images above it.
    """
    return _best_cut_of(Histogram.of(labels, logits), objective)


def _best_cut_of(histogram: Histogram, objective: str) -> float:
    distinct = histogram.logits
    # Gap i lies below distinct[i]; the two outer gaps get a width, to have a middle.
    edges = np.concatenate([distinct[:1] - 2, distinct, distinct[-1:] + 2])
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    widths[[0, -1]] = 0  # the last choice among equals
    totals = histogram.counts.sum(0)
    below = np.concatenate([[[0, 0]], np.cumsum(histogram.counts, 0)]).T
    accused, caught = totals[0] - below[0], totals[1] - below[1]
    limit = false_alarm_limit(objective)
    if limit is not None:
        return float(middles[np.argmax(accused / totals[0] <= limit)])
    merit = caught - accused if objective == "accuracy" else caught * totals[0] - accused * totals[1]
    return float(middles[np.argmax(np.where(merit == merit.max(), widths, -1))])


def false_alarm_limit(objective: str) -> float | None:
    """fpr=F -> F; None for accuracy and balanced. Raises UserError for any other objective."""
    if objective in ("accuracy", "balanced"):
        return None
    try:
        name, share = objective.split("=")
        if name == "fpr" and 0 <= float(share) < 1:
            return float(share)
    except ValueError:
        pass
    raise UserError(
        f"unknown objective {objective!r}: expected accuracy, balanced, or fpr=F with F at least 0 and below 1, e.g. fpr=0.01"
    )
