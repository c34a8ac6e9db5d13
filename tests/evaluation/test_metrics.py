"""Metrics against values worked out by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lfm_jax.evaluation.metrics import ECE_BINS, METRICS, detection_metrics, weighted_metrics
from lfm_jax.weights.score import is_fake, sigmoid

LABELLED = st.lists(st.tuples(st.integers(0, 1), st.integers(-8, 8).map(lambda n: n / 2)), min_size=1, max_size=30)


def test_a_case_worked_by_hand():
    """Called fake: +2, +1, +0.5. Ranked by score the labels read 1 0 1 0 1, so AP = (1 + 2/3 + 3/5) / 3."""
    values = detection_metrics([1, 0, 1, 0, 1], [2.0, 1.0, 0.5, -0.5, -1.0])
    assert (values["n_real"], values["n_fake"]) == (2, 3)
    assert values["acc"] == pytest.approx(3 / 5)
    assert values["real_acc"] == pytest.approx(1 / 2)
    assert values["fake_acc"] == pytest.approx(2 / 3)
    assert values["ap"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    loss = [math.log(1 + math.exp(-x)) for x in (2.0, -1.0, 0.5, 0.5, -1.0)]
    assert values["loss"] == pytest.approx(sum(loss) / 5)


@given(LABELLED)
@settings(deadline=None, max_examples=60)
def test_values_are_those_of_scikit_learn(pairs):
    labels, logits = (np.array(column) for column in zip(*pairs, strict=True))
    values = detection_metrics(labels.tolist(), logits.tolist())
    called = (logits > 0).astype(int)
    assert values["acc"] == pytest.approx(sk.accuracy_score(labels, called))
    assert values["loss"] == pytest.approx(sk.log_loss(labels, 1 / (1 + np.exp(-logits)), labels=[0, 1]))
    if labels.min() == 0:
        assert values["real_acc"] == pytest.approx(sk.recall_score(labels, called, pos_label=0, zero_division=0))
    if labels.max() == 1:
        assert values["fake_acc"] == pytest.approx(sk.recall_score(labels, called, zero_division=0))
    if len(set(labels)) == 2:
        assert values["ap"] == pytest.approx(sk.average_precision_score(labels, logits))
        assert values["auc"] == pytest.approx(sk.roc_auc_score(labels, logits))
        fpr, tpr, _ = sk.roc_curve(labels, logits, drop_intermediate=False)
        assert values["tpr_at_5_fpr"] == pytest.approx(tpr[fpr <= 0.05].max())
        crossing = np.interp(0, fpr - (1 - tpr), fpr)  # scikit-learn has no EER; the crossing of its curve
        assert values["eer"] == pytest.approx(crossing)
    assert values["brier"] == pytest.approx(sk.brier_score_loss(labels, 1 / (1 + np.exp(-logits)), pos_label=1))


@given(LABELLED, st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_a_weight_counts_an_image_that_many_times(pairs, seed):
    """Each row of weights gives the same as repeating the images."""
    labels, logits = (np.array(column) for column in zip(*pairs, strict=True))
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(labels)))
    values = weighted_metrics(labels, logits, weights, threshold=0.7, temperature=2.0)
    for row, copies in enumerate(weights):
        expected = detection_metrics(labels.repeat(copies), logits.repeat(copies), threshold=0.7, temperature=2.0)
        for name in METRICS:
            assert values[name][row] == pytest.approx(np.nan if expected[name] is None else expected[name], nan_ok=True), name


def test_many_rows_of_weights_are_computed_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    labels, logits, weights = rng.integers(0, 2, 40), rng.normal(size=40), rng.integers(0, 3, (7, 40))
    at_once = weighted_metrics(labels, logits, weights)
    monkeypatch.setattr("lfm_jax.evaluation.metrics.ELEMENTS_AT_ONCE", 100)
    for name, array in weighted_metrics(labels, logits, weights).items():
        np.testing.assert_allclose(array, at_once[name], rtol=1e-12)


def test_the_share_found_at_a_share_of_false_alarms_by_hand():
    """100 reals at 1..100, fakes at 99.5 and 98.5: with one false alarm in 100 the first is found, with two both are."""
    values = detection_metrics([0] * 100 + [1, 1], [*range(1, 101), 99.5, 98.5])
    assert (values["tpr_at_1_fpr"], values["tpr_at_5_fpr"]) == (0.5, 1.0)


def test_equal_error_rate_by_hand():
    """At the threshold that accuses one real in four, one fake in four is missed."""
    assert detection_metrics([1, 1, 1, 0, 1, 0, 0, 0], [8, 7, 6, 5, 4, 3, 2, 1])["eer"] == pytest.approx(1 / 4)
    assert detection_metrics([1, 1, 0, 0], [4, 3, 2, 1])["eer"] == 0
    assert detection_metrics([0, 0, 1, 1], [4, 3, 2, 1])["eer"] == 1


def test_calibration_error_by_hand():
    """Score 0.9 for two images of which one is fake: 0.4 off; score 0.1 for two reals: 0.1 off."""
    confident = math.log(0.9 / 0.1)
    values = detection_metrics([1, 0, 0, 0], [confident, confident, -confident, -confident])
    assert values["ece"] == pytest.approx((0.4 + 0.1) / 2)
    assert ECE_BINS == 15


def test_temperature_changes_scores_but_neither_their_order_nor_calls_at_half():
    labels, logits = [0, 1, 0, 1], [-2.0, 1.0, 3.0, 5.0]
    plain, cooled = (detection_metrics(labels, logits, temperature=t) for t in (1.0, 4.0))
    assert all(plain[name] == cooled[name] for name in ("acc", "real_acc", "fake_acc", "ap", "auc", "eer"))
    assert cooled["brier"] == pytest.approx(np.mean([(sigmoid(x / 4) - y) ** 2 for x, y in zip(logits, labels, strict=True)]))


@pytest.mark.parametrize(("label", "present", "absent"), [(0, "real_acc", "fake_acc"), (1, "fake_acc", "real_acc")])
def test_metrics_that_one_label_does_not_define_are_none(label, present, absent):
    values = detection_metrics([label] * 4, [-1.0, -1.0, -1.0, 1.0])
    correct = 3 / 4 if label == 0 else 1 / 4
    assert values["acc"] == values[present] == correct
    assert values[absent] is None
    assert values["ap"] is None


def test_no_images_define_nothing():
    values = detection_metrics([], [])
    assert (values["n_real"], values["n_fake"]) == (0, 0)
    assert all(values[name] is None for name in METRICS)


def test_a_score_at_the_threshold_is_called_real():
    values = detection_metrics([0, 1], [0.0, 0.0])
    assert (values["real_acc"], values["fake_acc"]) == (1.0, 0.0)
    assert not is_fake(0.0, 0.5)
    assert is_fake(np.nextafter(0.0, 1.0), 0.5)
    assert not is_fake(math.log(0.8 / (1 - 0.8)), 0.8)


@given(threshold=st.floats(0.01, 0.99), logit=st.floats(-30, 30))
@settings(max_examples=100)
def test_the_threshold_is_on_the_score(threshold, logit):
    score = float(sigmoid(logit))
    if abs(score - threshold) > 1e-9:
        assert bool(is_fake(logit, threshold)) == (score > threshold)
        assert detection_metrics([1], [logit], threshold=threshold)["acc_at_threshold"] == float(score > threshold)


def test_scores_that_round_to_one_are_still_told_apart():
    """At logits of 40 and 60 the sigmoid is 1.0 in float64; ranking goes by the logit."""
    assert sigmoid(40.0) == sigmoid(60.0) == 1.0
    assert detection_metrics([0, 1], [40.0, 60.0])["ap"] == 1.0
    assert detection_metrics([1, 0], [40.0, 60.0])["ap"] == 0.5


def test_tied_scores_share_their_rank():
    """One tie over all: precision is the share of fakes, however the images are ordered."""
    for labels in ([1, 0, 0, 1], [0, 0, 1, 1]):
        assert detection_metrics(labels, [0.3] * 4)["ap"] == pytest.approx(0.5)


def test_no_logit_is_too_large_for_the_sigmoid():
    with np.errstate(all="raise", under="ignore"):
        scores = sigmoid([-1e4, -60.0, 0.0, 60.0, 1e4])
    assert scores[0] == 0.0
    assert scores[2] == 0.5
    assert scores[4] == 1.0
    assert 0 < scores[1] < 1e-20
    assert math.isfinite(detection_metrics([0, 1], [1e4, -1e4])["loss"])


@given(st.floats(-700, 700))
@settings(max_examples=100)
def test_sigmoid_is_the_textbook_formula(logit):
    assert float(sigmoid(logit)) == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-12)


def test_metrics_are_plain_numbers():
    values = detection_metrics(np.array([0, 1]), np.array([0.5, 1.5], np.float32))
    assert {type(value) for value in values.values()} <= {int, float}
