"""The released code's numbers on the released weights: logits, activations, gradients, a short training run."""

import csv
import functools

import jax
import numpy as np
import optax
import pytest

import lfm_jax
from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.data import protocols
from lfm_jax.data.images import decode
from lfm_jax.data.sources.base import Example
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.inference.detector import Detector
from lfm_jax.inference.scoring import score
from lfm_jax.ops.npr import Residual, normalize, npr_residual
from lfm_jax.training.step import StepOptions, train_step
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.state import TrainState
from lfm_jax.weights.state_dict import to_state_dict

PROTOCOLS = ("resize256", "crop224", "native", "crop256", "resize256_crop224")
# The released network at full size takes longer to compute than to compile.
pytestmark = pytest.mark.optimised
pytest.importorskip("torch", reason="reads the released .pth, which needs PyTorch")


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "weights" / "lfm_bs_model.pth"


@pytest.fixture(scope="module")
def golden_logits(shared):
    with open(shared / "golden" / "logits.tsv", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_logit_of_the_released_code(shared, weights, golden_logits, protocol):
    """An image is scored once where protocols before this one make the same pixels of it, as most do of 256 x 256 px."""
    before = PROTOCOLS[: PROTOCOLS.index(protocol)]
    rows = [row for row in golden_logits if row[protocol] not in [row[earlier] for earlier in before]]
    assert len(rows) > len(golden_logits) / 2
    source = FileSource(shared / "data", [Example(row["path"]) for row in rows])
    expected = np.array([float(row[protocol]) for row in rows])
    scored = list(score(lfm_jax.load(weights), source, protocol))
    assert [item.error for item in scored] == [None] * len(rows)
    difference = np.abs(np.array([item.logit for item in scored]) - expected)
    assert (difference <= 1e-4 + 1e-5 * np.abs(expected)).all(), f"largest difference {difference.max()}"


def test_bfloat16_changes_hardly_any_label(shared, weights, golden_logits):
    loaded = weights_io.load(weights)
    config = loaded.card.model_config()
    config.compute_dtype = "bfloat16"
    detector = Detector(models.build(config), loaded.variables, loaded.card)
    source = FileSource(shared / "data", [Example(row["path"]) for row in golden_logits])
    logits = np.array([item.logit for item in score(detector, source, "crop256")])
    expected = np.array([float(row["crop256"]) for row in golden_logits])
    assert np.abs(logits - expected).max() <= 0.02 * np.abs(expected).max()
    assert np.mean((logits > 0) != (expected > 0)) <= 0.005


def pixels(shared, names, protocol):
    apply = protocols.parse(protocol)
    return np.concatenate([apply(decode(shared / "data" / name)) for name in names])


def test_activations(shared, weights):
    golden = np.load(shared / "golden" / "activations.npz")
    batch = pixels(shared, golden["images"], "resize256")
    loaded = weights_io.load(weights)
    model = models.build(loaded.card.model_config())
    output, captured = model.apply(loaded.variables, batch, mutable="intermediates")
    signed = npr_residual(normalize(batch, model.mean, model.std), residual=Residual(kind="signed"))
    np.testing.assert_allclose(signed[:, :32, :32], golden["npr_residual"], atol=1e-6)
    for index in range(1, 5):
        (block,) = captured["intermediates"]["backbone"][f"block{index}"]["norm"]["activations"]
        block = np.asarray(block)
        np.testing.assert_allclose(block.mean((1, 2)), golden[f"block{index}_mean"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(block.max((1, 2)), golden[f"block{index}_max"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(block[:, :4, :4], golden[f"block{index}_corner"], rtol=1e-4, atol=1e-4)
    scale = np.abs(golden["maps"]).max()
    np.testing.assert_allclose(output.maps, golden["maps"], rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(output.values, golden["topk_values"], rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(output.logits, golden["logit"], rtol=1e-5, atol=1e-4)


@pytest.fixture(scope="module")
def training(shared, weights):
    """The golden batch, and a network without regularisers that starts from the released weights."""
    golden = np.load(shared / "golden" / "train_steps.npz")
    batch = {"image": pixels(shared, golden["images"], "resize256_crop224"), "label": golden["labels"]}
    config = config_lib.model()
    config.rank_dropout.p_max = config.random_k.aux_weight = 0.0
    return golden, batch, models.build(config), weights_io.load(weights).variables


@pytest.fixture(scope="module")
def five_steps(training):
    _, batch, model, variables = training
    adam, losses = optax.adam(1e-4), []
    params = variables["params"]
    state = TrainState(np.int32(0), params, variables["batch_stats"], adam.init(params))
    step = jax.jit(functools.partial(train_step, model=model, tx=adam, options=StepOptions()))
    for _ in range(5):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, state


def test_the_five_losses(training, five_steps):
    golden, losses = training[0], five_steps[0]
    np.testing.assert_allclose(losses, golden["losses"], atol=1e-4, rtol=0)


def test_batch_norm_buffers_after_five_steps(training, five_steps):
    golden, model, state = training[0], training[2], five_steps[1]
    tensors = to_state_dict({"params": state.params, "batch_stats": state.batch_stats}, model)
    buffers = [key for key in golden if key.startswith("buffer/")]
    assert len(buffers) == 12
    for key in buffers:
        expected, tensor = golden[key], tensors[key.removeprefix("buffer/")]
        assert tensor.dtype == expected.dtype
        # Adam moves the conv biases by rounding noise, up to lr per step, and the running means absorb a tenth of it.
        np.testing.assert_allclose(tensor, expected, rtol=1e-3, atol=5 * 1e-4)


def test_gradients(training):
    golden, batch, model, variables = training

    def loss(params):
        output, _ = model.apply({**variables, "params": params}, batch["image"], train=True, mutable=["batch_stats"])
        return optax.sigmoid_binary_cross_entropy(output.logits, batch["label"]).mean()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    tensors = to_state_dict({"params": grads, "batch_stats": variables["batch_stats"]}, model)
    checked = 0
    for key in golden:
        name = key.removeprefix("grad/")
        # A conv bias before BatchNorm has no true gradient, only rounding noise.
        if not key.startswith("grad/") or name.endswith(".0.bias"):
            continue
        error = np.linalg.norm(tensors[name] - golden[key]) / np.linalg.norm(golden[key])
        assert error < 1e-3, f"{name}: relative error {error}"
        checked += 1
    assert checked == 15
