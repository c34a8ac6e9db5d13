"""What a recipe may add to training: label smoothing, two views of each image, a moving average of the weights."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lfm_jax
from lfm_jax.models import Output
from lfm_jax.training import loop, writers
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.training.losses import disagreement, lfm_loss
from lfm_jax.training.step import averaged
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.checkpoint import Checkpoints
from tests.helpers.launching import losses, same_weights, values
from tests.training.test_train import one_step, small_config

OPTIONS = {"label_smoothing": 0.1, "consistency": 0.5, "average_decay": 0.8, "data.augment.jpeg.p": 0.5}
DATA = {"data.source": "synthetic", "data.synthetic.side": 56, "data.synthetic.train": 32, "data.synthetic.val": 8}


def optional_config(**changes):
    return small_config("", **DATA, **{"data.synthetic.test": 16, **OPTIONS, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("options")
    return workdir, train_and_evaluate(optional_config(), workdir)


def output(logits, aux_logits=None):
    return Output(jnp.asarray(logits), None, None, None, aux_logits)


def test_smoothed_labels_are_those_of_the_formula():
    logits, labels = np.array([2.0, -1.0, 0.5]), np.array([1.0, 0.0, 0.0])
    targets = np.array([0.9, 0.1, 0.1])
    expected = np.mean(np.log1p(np.exp(logits)) - targets * logits)
    assert float(lfm_loss(output(logits), jnp.asarray(labels), aux_weight=0.0, label_smoothing=0.2)) == pytest.approx(expected)
    with_aux = lfm_loss(output(logits, jnp.asarray(logits)), jnp.asarray(labels), aux_weight=0.5, label_smoothing=0.2)
    assert float(with_aux) == pytest.approx(1.5 * expected)


def test_disagreement_is_the_symmetric_divergence_of_the_two_scores():
    logits = np.array([[0.3, 0.3], [2.0, -1.0]])
    p, q = 1 / (1 + np.exp(-logits[1]))
    both = (p - q) * (np.log(p / q) - np.log((1 - p) / (1 - q)))  # KL(p, q) + KL(q, p)
    assert float(disagreement(jnp.asarray(logits))) == pytest.approx(both / 2)


def test_two_views_are_two_images_to_the_network_and_their_disagreement_adds_to_the_loss():
    state, _, _, step, batch = one_step(optional_config(), labels=8)
    flat = {"image": batch["image"], "label": np.float32([0, 0, 1, 1, 0, 0, 1, 1])}
    pairs = {"image": flat["image"].reshape(4, 2, 48, 48, 3), "label": flat["label"][::2]}
    moved, metrics = jax.jit(step)(state, pairs)
    moved_flat, flat_metrics = jax.jit(step)(state, flat)
    assert jax.tree.all(jax.tree.map(np.array_equal, moved, moved_flat))
    assert float(metrics["loss"]) == float(flat_metrics["loss"])
    weighted = jax.jit(functools.partial(step, consistency=3.0))(state, pairs)[1]
    assert float(metrics["disagreement"]) > 0
    assert float(weighted["loss"]) == pytest.approx(float(metrics["loss"] + 3 * metrics["disagreement"]), rel=1e-5)


def test_the_average_starts_with_the_run_and_forgets_at_most_at_its_decay():
    old, new = {"mean": jnp.float32(0.0), "count": jnp.int32(3)}, {"mean": jnp.float32(1.0), "count": jnp.int32(4)}
    first, later = (averaged(old, new, jnp.int32(step), decay=0.8) for step in (0, 1000))
    assert [float(first["mean"]), float(later["mean"])] == pytest.approx([0.9, 0.2])
    assert int(later["count"]) == 4


def test_what_is_validated_tested_and_exported_is_the_average_and_the_card_says_so(run, tmp_path, monkeypatch):
    trained = []
    keep = loop.keep_if_best
    monkeypatch.setattr(loop, "keep_if_best", lambda run, state, *others: (trained.append(state), keep(run, state, *others)))
    train_and_evaluate(optional_config(steps=1, **{"eval.every_steps": 1}), tmp_path)
    (state,) = trained
    weights = weights_io.load(tmp_path)
    assert weights.card.training["average_decay"] == 0.8
    kernel = weights.variables["params"]["head"]["kernel"]
    assert np.array_equal(kernel, state.average["params"]["head"]["kernel"])
    assert not np.array_equal(kernel, state.params["head"]["kernel"])
    detector = lfm_jax.load(run[0] / "checkpoints" / "last")
    assert run[1]["last"].predictions[0]["weights"] == detector.card.weights_sha256[:12]


class KilledError(Exception):
    """Stands for the end of the process."""


def test_a_killed_run_goes_on_to_the_same_weights_trained_and_averaged(run, tmp_path, monkeypatch):
    write = writers.MetricWriter.write

    def dying(self, step, split, metrics):
        write(self, step, split, metrics)
        if step == 5:
            raise KilledError

    monkeypatch.setattr(writers.MetricWriter, "write", dying)
    with pytest.raises(KilledError):
        train_and_evaluate(optional_config(), tmp_path)
    monkeypatch.undo()
    train_and_evaluate(optional_config(), tmp_path)
    assert values(writers.read(tmp_path)) == values(writers.read(run[0]))
    assert same_weights(tmp_path, run[0])
    states = []
    restore = Checkpoints.restore_last
    monkeypatch.setattr(Checkpoints, "restore_last", lambda *args: states.append(restore(*args)) or states[-1])
    for workdir in (tmp_path, run[0]):
        train_and_evaluate(optional_config(**{"eval.test": False}), workdir)
    assert jax.tree.all(jax.tree.map(np.array_equal, *states))


def test_one_device_and_eight_give_the_same_run(run, tmp_path):
    code = """
import sys
from tests.training.test_options import optional_config, train_and_evaluate
train_and_evaluate(optional_config(steps=4, **{"eval.test": False}), sys.argv[1])
"""
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, check=True, timeout=600)
    np.testing.assert_allclose(losses(tmp_path), losses(run[0])[:4], rtol=1e-4)
    ours, theirs = (weights_io.load(workdir / "checkpoints" / "last" / "4").variables for workdir in (run[0], tmp_path))
    for one, eight in zip(jax.tree.leaves(ours["batch_stats"]), jax.tree.leaves(theirs["batch_stats"]), strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-3, atol=1e-5)
