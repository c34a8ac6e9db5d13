"""What a recipe may add to training: label smoothing, two views of each image, a moving average of the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lfm_jax
from lfm_jax.models import Output
from lfm_jax.training import loop, writers
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.training.losses import LossTerms, disagreement, lfm_loss
from lfm_jax.training.step import moving_average
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.checkpoint import Checkpoints
from tests.helpers.launching import losses, same_weights, values
from tests.helpers.training import SmallStep, dies_in_step, optional_config, python, small_config


@pytest.fixture(scope="module")
def optional_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("options")
    return workdir, train_and_evaluate(optional_config(), workdir)


def output(logits, aux_logits=None):
    return Output(jnp.asarray(logits), None, None, None, aux_logits)


def test_smoothed_labels_are_those_of_the_formula():
    logits, labels = np.array([2.0, -1.0, 0.5]), np.array([1.0, 0.0, 0.0])
    targets = np.array([0.9, 0.1, 0.1])
    expected = np.mean(np.log1p(np.exp(logits)) - targets * logits)
    smoothed = lfm_loss(output(logits), jnp.asarray(labels), LossTerms(label_smoothing=0.2))
    assert float(smoothed) == pytest.approx(expected)
    with_aux = lfm_loss(output(logits, jnp.asarray(logits)), jnp.asarray(labels), LossTerms(aux_weight=0.5, label_smoothing=0.2))
    assert float(with_aux) == pytest.approx(1.5 * expected)


def test_disagreement_is_the_symmetric_divergence_of_the_two_scores():
    logits = np.array([[0.3, 0.3], [2.0, -1.0]])
    p, q = 1 / (1 + np.exp(-logits[1]))
    both = (p - q) * (np.log(p / q) - np.log((1 - p) / (1 - q)))  # KL(p, q) + KL(q, p)
    assert float(disagreement(jnp.asarray(logits))) == pytest.approx(both / 2)


def test_two_views_are_two_images_to_the_network_and_their_disagreement_adds_to_the_loss():
    step = SmallStep(small_config(""), images=8)
    flat = {"image": step.batch["image"], "label": np.float32([0, 0, 1, 1, 0, 0, 1, 1])}
    pairs = {"image": flat["image"].reshape(4, 2, 48, 48, 3), "label": flat["label"][::2]}
    (after, metrics), (after_flat, flat_metrics) = step(pairs), step(flat)
    assert jax.tree.all(jax.tree.map(np.array_equal, after, after_flat))
    assert float(metrics["loss"]) == float(flat_metrics["loss"])
    weighted = SmallStep(small_config("", consistency=3.0), images=8)(pairs)[1]
    assert float(metrics["disagreement"]) > 0
    assert float(weighted["loss"]) == pytest.approx(float(metrics["loss"] + 3 * metrics["disagreement"]), rel=1e-5)


def test_the_average_starts_with_the_run_and_never_forgets_faster_than_its_decay():
    old, new = {"mean": jnp.float32(0.0), "count": jnp.int32(3)}, {"mean": jnp.float32(1.0), "count": jnp.int32(4)}
    first, later = (moving_average(old, new, jnp.int32(step), decay=0.8) for step in (0, 1000))
    assert [float(first["mean"]), float(later["mean"])] == pytest.approx([0.9, 0.2])
    assert int(later["count"]) == 4


def test_the_average_is_what_is_validated_tested_and_exported_and_the_card_says_so(optional_run, tmp_path, monkeypatch):
    states = []
    keep = loop.keep_if_best
    monkeypatch.setattr(loop, "keep_if_best", lambda run, state, *others: (states.append(state), keep(run, state, *others)))
    train_and_evaluate(optional_config(steps=1, **{"eval.every_steps": 1}), tmp_path)
    (state,) = states
    weights = weights_io.load(tmp_path)
    assert weights.card.training["average_decay"] == 0.8
    kernel = weights.variables["params"]["head"]["kernel"]
    assert np.array_equal(kernel, state.average["params"]["head"]["kernel"])
    assert not np.array_equal(kernel, state.params["head"]["kernel"])
    workdir, results = optional_run
    detector = lfm_jax.load(workdir / "checkpoints" / "last")
    assert results["last"].predictions[0]["weights"] == detector.card.weights_sha256[:12]


def test_a_killed_run_resumes_to_the_same_weights_trained_and_averaged(optional_run, tmp_path, monkeypatch):
    workdir, _ = optional_run
    dies_in_step(5, lambda: train_and_evaluate(optional_config(), tmp_path))
    train_and_evaluate(optional_config(), tmp_path)
    assert values(writers.read(tmp_path)) == values(writers.read(workdir))
    assert same_weights(tmp_path, workdir)
    states = []
    restore = Checkpoints.restore_last
    monkeypatch.setattr(Checkpoints, "restore_last", lambda *args: states.append(restore(*args)) or states[-1])
    for folder in (tmp_path, workdir):
        train_and_evaluate(optional_config(**{"eval.test": False}), folder)
    assert jax.tree.all(jax.tree.map(np.array_equal, *states))


def test_one_device_and_eight_give_the_same_run(optional_run, tmp_path):
    workdir, _ = optional_run
    code = """
import sys
from lfm_jax.training.loop import train_and_evaluate
from tests.helpers.training import optional_config
train_and_evaluate(optional_config(steps=4, **{"eval.test": False}), sys.argv[1])
"""
    ran = python("-c", code, tmp_path, JAX_NUM_CPU_DEVICES="8")
    assert ran.returncode == 0, ran.stderr[-3000:]
    np.testing.assert_allclose(losses(tmp_path), losses(workdir)[:4], rtol=1e-4)
    ours, theirs = (weights_io.load(folder / "checkpoints" / "last" / "4").variables for folder in (workdir, tmp_path))
    for one, eight in zip(jax.tree.leaves(ours["batch_stats"]), jax.tree.leaves(theirs["batch_stats"]), strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-3, atol=1e-5)
