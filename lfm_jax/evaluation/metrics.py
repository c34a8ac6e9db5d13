"""Detection metrics from labels and logits: one table of what they are called, how they are computed and where they stand.

Every metric is defined for weighted images, so that a bootstrap is one call with a row of weights for each resample.
Add your own by registering a factory in a file that `--import=FILE.py` runs (docs/extending.md):

    @METRICS.register("misses")
    def misses():
        def compute(labels, logits, weights, *, threshold):
            missed = labels & ~is_fake(logits, threshold)  # lfm_jax.weights.score
            return weights @ missed / (weights @ labels)

        return Metric("missed fakes", compute, "Share of the fakes called real.", at_threshold=True)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lfm_jax.errors import UserError
from lfm_jax.evaluation.ranking import ECE_BINS, Ranking
from lfm_jax.runtime.registry import Registry

HEADLINE = ("acc", "ap")  # what every publication reports
ELEMENTS_AT_ONCE = 1 << 21  # weightings x images computed together, to bound the memory


class Compute(Protocol):
    """A metric of N images under R weightings."""

    def __call__(self, labels: np.ndarray, logits: np.ndarray, weights: np.ndarray, *, threshold: float) -> np.ndarray:
        """labels [N] bool (True is fake), logits [N], weights [R, N] float64 of at least 0 -> values [R], NaN where undefined.

        Images come in descending order of their logits, which are already divided by the temperature: the score is their
        sigmoid, and `is_fake(logits, threshold)` compares it with `threshold`.
        """
        ...


@dataclass(frozen=True)
class FromRanking:
    """A `Compute` made from a function of a `Ranking`; several of them over the same images share one."""

    of: Callable[[Ranking], np.ndarray]

    def __call__(self, labels: np.ndarray, logits: np.ndarray, weights: np.ndarray, *, threshold: float) -> np.ndarray:
        return self.of(Ranking(labels, logits, weights, threshold))


@dataclass(frozen=True)
class Metric:
    """What tables and reports need to know of a metric.

    Attributes:
      heading: of its column.
      compute: see `Compute`.
      definition: one sentence for the report's notes.
      percent: shown times 100; otherwise as it is, with three decimals.
      interval: shown with its 95 % interval. Intervals of all metrics are in results.json.
      in_table, in_report: whether it has a column in table.md and in report.html. All metrics are in results.json.
      at_threshold: depends on the weights' own threshold, so its column stands only where one differs from 0.5.
    """

    heading: str
    compute: Compute
    definition: str = ""
    percent: bool = True
    interval: bool = False
    in_table: bool = True
    in_report: bool = True
    at_threshold: bool = False

    def text(self, value: float | None) -> str:
        """0.5 -> "50.0", or "0.500" where it is no percentage; None -> "-"."""
        if value is None:
            return "-"
        return f"{100 * value:.1f}" if self.percent else f"{value:.3f}"

    def change(self, value: float) -> str:
        """A difference of two values, with its sign: 0.05 -> "+5.0"."""
        return f"{100 * value:+.1f}" if self.percent else f"{value:+.3f}"


METRICS: Registry[Callable[[], Metric]] = Registry("metric", "--metric")


def all_metrics() -> dict[str, Metric]:
    """Every registered metric by name: the built-in ones, then your own."""
    return {name: make() for name, make in METRICS.items()}


def columns(*, fitted: bool, report: bool = False) -> dict[str, Metric]:
    """Metrics with a column in table.md, or in the report, in that order.

    Args:
      fitted: whether a threshold differs from 0.5: metrics `at_threshold` then come last, and are left out otherwise.
      report: those of report.html.
    """
    standing = {name: metric for name, metric in all_metrics().items() if (metric.in_report if report else metric.in_table)}
    of_scores = {name: metric for name, metric in standing.items() if not metric.at_threshold}
    return of_scores | (standing if fitted else {})


def detection_metrics(
    labels: Sequence[Any] | np.ndarray, logits: Sequence[Any] | np.ndarray, *, threshold: float = 0.5, temperature: float = 1.0
) -> dict[str, Any]:
    """The counts of real and fake images and every metric, as plain numbers.

    Args:
      labels: [N], 0 real and 1 fake.
      logits: [N]; the score is the sigmoid of logit / `temperature`.
      threshold: on the score. Only the metrics `at_threshold` depend on it.

    Returns:
      n_real, n_fake and METRICS. A metric that these images do not define (real_acc without real images, ap with one
      label only) is None.
    """
    truth = np.asarray(labels, int)
    values = weighted_metrics(truth, logits, np.ones((1, truth.size)), threshold=threshold, temperature=temperature)
    counts = {"n_real": int((truth == 0).sum()), "n_fake": int((truth == 1).sum())}
    return counts | {name: plain(value[0]) for name, value in values.items()}


def plain(value: float) -> float | None:
    """A number for JSON, which has neither NaN nor infinity: None in their place."""
    return float(value) if np.isfinite(value) else None


def weighted_metrics(
    labels: npt.ArrayLike, logits: npt.ArrayLike, weights: np.ndarray, *, threshold: float = 0.5, temperature: float = 1.0
) -> dict[str, np.ndarray]:
    """labels [N], logits [N], weights [R, N] of at least 0 -> every metric, each [R]; NaN where undefined.

    Raises:
      UserError: a metric of your own returned another shape.
    """
    fake, scaled = np.asarray(labels, bool), np.asarray(logits, np.float64)
    order = np.argsort(-scaled, kind="stable")
    fake, scaled = fake[order], scaled[order] / temperature
    rows = max(ELEMENTS_AT_ONCE // max(fake.size, 1), 1)
    metrics = all_metrics()
    parts = [
        _values(metrics, Ranking(fake, scaled, weights[start : start + rows][:, order].astype(np.float64), threshold))
        for start in range(0, len(weights), rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in metrics}


@np.errstate(divide="ignore", invalid="ignore")  # 0 / 0 is how an undefined value comes out as NaN
def _values(metrics: dict[str, Metric], ranking: Ranking) -> dict[str, np.ndarray]:
    values = {}
    for name, metric in metrics.items():
        if isinstance(metric.compute, FromRanking):
            values[name] = metric.compute.of(ranking)
            continue
        arrays = ranking.labels, ranking.logits, ranking.weights
        values[name] = np.asarray(metric.compute(*arrays, threshold=ranking.threshold), np.float64)
        if values[name].shape != (len(ranking.weights),):
            raise UserError(
                f"metric {name!r} returned shape {list(values[name].shape)} for weights {list(ranking.weights.shape)}: "
                f"expected one value per row of weights, [{len(ranking.weights)}]"
            )
    return values


AT_HALF = "at a score of 0.5, as published results have it"


@METRICS.register("acc")
def _accuracy() -> Metric:
    compute = FromRanking(lambda ranking: ranking.accuracy(0.5))
    return Metric("ACC", compute, f"Share of the images called correctly {AT_HALF}.", interval=True)


@METRICS.register("acc_at_threshold")
def _accuracy_at_threshold() -> Metric:
    compute = FromRanking(lambda ranking: ranking.accuracy(ranking.threshold))
    definition = "Share of the images called correctly at the weights' own threshold."
    return Metric("ACC at threshold", compute, definition, at_threshold=True)


@METRICS.register("real_acc")
def _real_accuracy() -> Metric:
    return Metric("real ACC", FromRanking(Ranking.real_accuracy), f"Share of the real images called real {AT_HALF}.")


@METRICS.register("fake_acc")
def _fake_accuracy() -> Metric:
    return Metric("fake ACC", FromRanking(Ranking.fake_accuracy), f"Share of the fakes called fake {AT_HALF}.")


@METRICS.register("ap")
def _average_precision() -> Metric:
    definition = "Average precision of the ranking by score; needs no threshold."
    return Metric("AP", FromRanking(Ranking.average_precision), definition, interval=True)


@METRICS.register("auc")
def _area_under_roc() -> Metric:
    definition = "Area under the ROC curve: how often a random fake scores above a random real image."
    return Metric("AUC", FromRanking(Ranking.area_under_roc), definition, interval=True)


@METRICS.register("eer")
def _equal_error_rate() -> Metric:
    definition = "Error rate where as large a share of reals is accused as of fakes is missed; lower is better."
    return Metric("EER", FromRanking(Ranking.equal_error_rate), definition)


def _found_at(percent: int) -> Metric:
    compute = FromRanking(lambda ranking: ranking.found_at(percent / 100))
    definition = f"Share of the fakes found while at most {percent} % of the reals are accused."
    return Metric(f"TPR at {percent} % FPR", compute, definition, in_table=False)


METRICS.register("tpr_at_1_fpr")(lambda: _found_at(1))
METRICS.register("tpr_at_5_fpr")(lambda: _found_at(5))


@METRICS.register("brier")
def _brier() -> Metric:
    definition = "Mean squared distance of the score from the label; lower is better."
    return Metric("Brier", FromRanking(Ranking.brier), definition, in_table=False)


@METRICS.register("ece")
def _calibration_error() -> Metric:
    definition = f"Expected calibration error over {ECE_BINS} bins of the score; lower is better."
    return Metric("ECE", FromRanking(Ranking.calibration_error), definition, in_table=False)


@METRICS.register("loss")
def _negative_log_likelihood() -> Metric:
    definition = "Mean negative log-likelihood of the labels; lower is better."
    compute = FromRanking(Ranking.negative_log_likelihood)
    return Metric("NLL", compute, definition, percent=False, in_table=False, in_report=False)
