"""The temperature and the threshold that fit given logits and labels best, and what is remarked of a poor fit."""

import numpy as np
import pytest

from lfm_jax.errors import DataError, UserError
from lfm_jax.evaluation.fitting import best_cut, fit, fit_temperature
from lfm_jax.evaluation.metrics import detection_metrics
from lfm_jax.weights.card import Card
from lfm_jax.weights.score import sigmoid


def arrays(reals, fakes):
    return np.repeat([0, 1], [len(reals), len(fakes)]), np.array([*reals, *fakes], np.float32)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_that_scaled_the_logits_is_found_again(true):
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 40_000)
    labels = (rng.random(honest.size) < sigmoid(honest)).astype(int)
    temperature, why_not = fit_temperature(labels, honest * true)
    assert temperature == pytest.approx(true, rel=0.03)
    assert not why_not
    fitted = fit(labels[:4000], (honest * true)[:4000], "accuracy")
    assert fitted.after["ece"] < 0.05
    assert fitted.after["nll"] <= fitted.before["nll"]


@pytest.mark.parametrize(
    ("reals", "fakes", "word"), [([-3, -2], [2, 3], "separate"), ([2, 3], [-3, -2], "hardly")], ids=["separated", "reversed"]
)
def test_a_temperature_without_an_optimum_stays_finite_with_a_remark(reals, fakes, word):
    fitted = fit(*arrays(reals * 100, fakes * 100), "accuracy")
    assert 0.01 < fitted.temperature < 10_000
    assert 0 < fitted.threshold < 1
    assert any("end of the range" in remark and word in remark for remark in fitted.remarks)


@pytest.mark.parametrize(
    ("reals", "fakes", "objective", "cut"),
    [
        ([-4, -2], [1, 3], "accuracy", -0.5),  # the only gap without a mistake
        ([-4, 2], [1, 5, 6], "accuracy", -1.5),  # one mistake there and between 2 and 5: the wider one
        ([0, 1, 2, 3, 4], [2.5], "accuracy", 5.0),  # it is best to call nothing fake
        ([0, 1, 2, 3], [2.5], "balanced", 2.25),  # the one fake weighs as much as the four reals
        ([0, 1, 2, 3], [2.5], "fpr=0.25", 2.25),  # one real of four may be above
        ([0, 1, 2, 3], [2.5], "fpr=0.5", 1.5),
        ([0, 1, 2, 3], [2.5, 9], "fpr=0.24", 6.0),  # none may
        ([0, 0, 0, 1], [0, 2], "fpr=0.5", 0.5),  # images of one logit stay together
    ],
)
def test_the_cut_is_in_the_middle_of_the_best_gap(reals, fakes, objective, cut):
    assert best_cut(*arrays(reals, fakes), objective) == cut


@pytest.mark.parametrize("objective", ["accuracy", "balanced", "fpr=0.05", "fpr=0"])
def test_the_fitted_threshold_does_what_was_asked_and_none_does_better(objective):
    rng = np.random.default_rng(3)
    labels, logits = arrays(rng.normal(-40, 30, 150), rng.normal(40, 30, 300))
    fitted = fit(labels, logits, objective)
    options = {"threshold": fitted.threshold, "temperature": fitted.temperature}
    called = np.array([Card(**options).is_fake(logit) for logit in logits])
    assert detection_metrics(labels, logits, **options)["acc_at_threshold"] == pytest.approx((called == labels).mean())
    tries = [(labels[logits > cut] == 0).sum() / 150 for cut in logits], [(labels[logits > cut] == 1).sum() / 300 for cut in logits]
    alarms, caught = map(np.array, tries)
    alarm, catch = called[labels == 0].mean(), called[labels == 1].mean()
    if objective == "accuracy":
        assert (called == labels).sum() == pytest.approx((150 * (1 - alarms) + 300 * caught).max())
    elif objective == "balanced":
        assert catch - alarm == pytest.approx((caught - alarms).max())
    else:
        most = float(objective.removeprefix("fpr="))
        assert alarm <= most
        assert catch == caught[alarms <= most].max()
    low, high = fitted.interval
    assert low <= fitted.threshold <= high


def test_a_threshold_far_out_is_still_a_score_below_1():
    """At temperature 1 the scores on both sides of it would be 1."""
    rng = np.random.default_rng(0)
    labels, logits = arrays([*rng.normal(-9, 1, 999), 90], [*rng.normal(9, 1, 999), 91])
    fitted = fit(labels, logits, "fpr=0")
    called = [Card(threshold=fitted.threshold, temperature=fitted.temperature).is_fake(logit) for logit in (90, 91)]
    assert (fitted.threshold < 1, called) == (True, [False, True])


def test_few_images_get_a_remark_with_their_numbers():
    remarks = fit(*arrays([-1, 0.5, -2], [1, -1.5]), "fpr=0.01").remarks
    assert any("3 real and 2 fake" in remark for remark in remarks)
    assert any("false-alarm share of 0.01" in remark for remark in remarks)
    rng = np.random.default_rng(0)
    assert fit(*arrays(rng.normal(-1, 1, 200), rng.normal(1, 1, 200)), "accuracy").remarks == []


def test_a_fit_of_weights_that_hardly_tell_the_labels_apart_is_called_useless():
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 2
    fitted = fit(labels, rng.normal(labels * 80.0, 200), "accuracy")
    assert fitted.temperature > 50
    warnings = [remark for remark in fitted.remarks if remark.startswith("warning: ")]
    assert any("hardly tell such images apart" in warning and "guessing gets 50 %" in warning for warning in warnings)
    assert any(
        "as an order, not as probabilities" in warning and f"temperature {fitted.temperature:.3g}" in warning
        for warning in warnings
    )
    alarms_are_rare = fit(labels, rng.normal(labels * 3.0, 1), "fpr=0.01")
    assert not any("warning" in remark for remark in alarms_are_rare.remarks)


def test_images_that_all_score_alike_get_a_remark():
    fitted = fit(*arrays([0.0] * 100, [0.0] * 100), "accuracy")
    assert any("one answer for all" in remark for remark in fitted.remarks)


@pytest.mark.parametrize(("reals", "fakes"), [([], [1.0]), ([1.0], []), ([], [])])
def test_a_label_without_images_is_refused(reals, fakes):
    with pytest.raises(DataError, match=f"{len(reals)} real and {len(fakes)} fake"):
        fit(*arrays(reals, fakes), "accuracy")


@pytest.mark.parametrize("objective", ["", "acc", "fpr", "fpr=1", "fpr=-0.1", "fpr=x", "fpr=nan", "tpr=0.1", "fpr=0.1=2"])
def test_an_unknown_objective_is_named_with_the_choices(objective):
    with pytest.raises(UserError, match="expected accuracy, balanced, or fpr=F"):
        best_cut(*arrays([0], [1]), objective)
