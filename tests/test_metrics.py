"""Metrics by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lfm_jax.metrics import METRICS, detection_metrics, is_fake, mean_of, sigmoid

LABELLED = st.lists(st.tuples(st.integers(0, 1), st.integers(-8, 8).map(lambda n: n / 2)), min_size=1, max_size=30)


def test_a_case_worked_by_hand():
    """Called fake: +2, +1, +0.5. Ranked by score the labels read 1 0 1 0 1, so AP = (1 + 2/3 + 3/5) / 3."""
    found = detection_metrics([1, 0, 1, 0, 1], [2.0, 1.0, 0.5, -0.5, -1.0])
    assert (found["n_real"], found["n_fake"]) == (2, 3)
    assert found["acc"] == pytest.approx(3 / 5)
    assert found["real_acc"] == pytest.approx(1 / 2)
    assert found["fake_acc"] == pytest.approx(2 / 3)
    assert found["ap"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    loss = [math.log(1 + math.exp(-x)) for x in (2.0, -1.0, 0.5, 0.5, -1.0)]
    assert found["loss"] == pytest.approx(sum(loss) / 5)


@given(LABELLED)
@settings(deadline=None, max_examples=60)
def test_the_same_as_scikit_learn(pairs):
    labels, logits = (np.array(column) for column in zip(*pairs, strict=True))
    found = detection_metrics(labels.tolist(), logits.tolist())
    called = (logits > 0).astype(int)
    assert found["acc"] == pytest.approx(sk.accuracy_score(labels, called))
    assert found["loss"] == pytest.approx(sk.log_loss(labels, 1 / (1 + np.exp(-logits)), labels=[0, 1]))
    if labels.min() == 0:
        assert found["real_acc"] == pytest.approx(sk.recall_score(labels, called, pos_label=0, zero_division=0))
    if labels.max() == 1:
        assert found["fake_acc"] == pytest.approx(sk.recall_score(labels, called, zero_division=0))
    if len(set(labels)) == 2:
        assert found["ap"] == pytest.approx(sk.average_precision_score(labels, logits))


@pytest.mark.parametrize(("label", "present", "absent"), [(0, "real_acc", "fake_acc"), (1, "fake_acc", "real_acc")])
def test_what_one_label_does_not_define_is_none(label, present, absent):
    found = detection_metrics([label] * 4, [-1.0, -1.0, -1.0, 1.0])
    right = 3 / 4 if label == 0 else 1 / 4
    assert found["acc"] == found[present] == right
    assert found[absent] is None
    assert found["ap"] is None


def test_no_images_define_nothing():
    found = detection_metrics([], [])
    assert (found["n_real"], found["n_fake"]) == (0, 0)
    assert all(found[name] is None for name in METRICS)


def test_a_score_at_the_threshold_is_called_real():
    found = detection_metrics([0, 1], [0.0, 0.0])
    assert (found["real_acc"], found["fake_acc"]) == (1.0, 0.0)
    assert not is_fake(0.0, 0.5)
    assert is_fake(np.nextafter(0.0, 1.0), 0.5)
    assert not is_fake(math.log(0.8 / (1 - 0.8)), 0.8)


@given(threshold=st.floats(0.01, 0.99), logit=st.floats(-30, 30))
@settings(max_examples=100)
def test_the_threshold_is_on_the_score(threshold, logit):
    score = float(sigmoid(logit))
    if abs(score - threshold) > 1e-9:
        assert bool(is_fake(logit, threshold)) == (score > threshold)
        assert detection_metrics([1], [logit], threshold=threshold)["fake_acc"] == float(score > threshold)


def test_scores_that_round_to_one_are_still_told_apart():
    """At logits of 40 and 60 the sigmoid is 1.0 in float64; ranking goes by the logit."""
    assert sigmoid(40.0) == sigmoid(60.0) == 1.0
    assert detection_metrics([0, 1], [40.0, 60.0])["ap"] == 1.0
    assert detection_metrics([1, 0], [40.0, 60.0])["ap"] == 0.5


def test_tied_scores_share_their_rank():
    """One tie over all: precision is the share of fakes, however the images are ordered."""
    for labels in ([1, 0, 0, 1], [0, 0, 1, 1]):
        assert detection_metrics(labels, [0.3] * 4)["ap"] == pytest.approx(0.5)


def test_no_logit_is_too_large():
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


def test_a_mean_leaves_out_what_a_row_does_not_define():
    rows = [
        {"acc": 0.5, "real_acc": 1.0, "fake_acc": 0.0, "ap": 0.25, "loss": 1.0, "n_real": 1000},
        {"acc": 1.0, "real_acc": None, "fake_acc": 1.0, "ap": None, "loss": 1.0, "n_real": 0},
    ]
    assert mean_of(rows) == {"acc": 0.75, "real_acc": 1.0, "fake_acc": 0.5, "ap": 0.25}
    assert mean_of(rows[1:])["ap"] is None


def test_metrics_are_plain_numbers():
    found = detection_metrics(np.array([0, 1]), np.array([0.5, 1.5], np.float32))
    assert {type(value) for value in found.values()} <= {int, float}
