"""NPR and ResNet-50: PyTorch's numbers forward, backward and in training, padding, windows, and a run from config to table."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import ConfigError
from lfm_jax.inference import evidence
from lfm_jax.inference.detector import Detector
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.weights.card import Card
from lfm_jax.weights.state_dict import from_state_dict, to_state_dict
from tests.helpers.networks import NARROW, drawn_resnet, equal_to_the_bit, images, preset


def logits(model, variables, batch, sizes=None):
    return np.asarray(jax.jit(lambda variables: model.apply(variables, batch, sizes=sizes).logits)(variables))


def pytorch_twin(name, model, variables, widths=None):
    torch = pytest.importorskip("torch", reason="runs the same network in PyTorch")
    from lfm_jax.export.lfm_torch import TorchResNet

    network = TorchResNet(widths or NARROW[name], npr=name == "npr")
    network.load_state_dict({key: torch.from_numpy(array) for key, array in to_state_dict(variables, model).items()}, strict=True)
    return network


@pytest.mark.parametrize(("name", "millions"), [("npr", 1.44), ("resnet50", 23.51)])
def test_the_number_of_parameters_is_the_published_one(name, millions):
    params = models.abstract_variables(models.build(preset(name).model))["params"]
    assert round(sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "widths", "shape"),
    [("npr", (4, 6), (2, 64, 96)), ("npr", (4, 6), (3, 51, 70)), ("resnet50", (4, 4, 6, 6), (2, 96, 71))],
)
def test_logits_are_those_of_pytorch(name, widths, shape):
    torch = pytest.importorskip("torch", reason="runs the same network in PyTorch")
    from lfm_jax.export.lfm_torch import normalize

    model, variables, _ = drawn_resnet(name, widths)
    with torch.no_grad():
        expected = pytorch_twin(name, model, variables, widths).eval()(normalize(torch.from_numpy(images(*shape)))).numpy()
    np.testing.assert_allclose(logits(model, variables, images(*shape)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NARROW)
def test_gradients_and_running_averages_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="runs the same network in PyTorch")
    from lfm_jax.export.lfm_torch import normalize

    model, variables, _ = drawn_resnet(name)
    batch, labels = images(6, 64, 64), np.float32([0, 1, 0, 1, 1, 0])

    @jax.jit
    def step(params):
        def loss(params):
            of_step = {**variables, "params": params}
            output, updated = model.apply(of_step, batch, train=True, mutable=["batch_stats"])
            return jnp.mean(jnp.logaddexp(0, output.logits) - labels * output.logits), updated["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    gradients, batch_stats = step(variables["params"])
    network = pytorch_twin(name, model, variables).train()
    logits = network(normalize(torch.from_numpy(batch)))
    torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels)).backward()
    state = to_state_dict({"params": gradients, "batch_stats": batch_stats}, model)
    for key, tensor in network.named_parameters():
        largest = float(tensor.grad.abs().max())
        np.testing.assert_allclose(state[key], tensor.grad.numpy(), rtol=1e-3, atol=1e-3 * largest, err_msg=key)
    for key, tensor in network.named_buffers():
        np.testing.assert_allclose(state[key], tensor.numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


def test_initialisation_is_torchvisions():
    model = models.build(preset("npr", (16, 32)).model)
    params = jax.jit(lambda: models.init(model, jax.random.key(0))["params"])()
    kernel = params["backbone"]["stage2_block2"]["conv2"]["kernel"]
    assert np.std(kernel) == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)
    assert np.abs(kernel).max() > 3 * np.std(kernel)  # normal, not cut off
    assert np.abs(params["head"]["kernel"]).max() <= (4 * 32) ** -0.5


@pytest.mark.parametrize("name", NARROW)
def test_a_padded_image_gives_the_logit_it_has_alone(name):
    model, variables, _ = drawn_resnet(name)
    sizes = np.array([[64, 64], [40, 61], [57, 34]], np.int32)
    batch = images(3, 64, 64)
    together = logits(model, variables, batch, sizes)
    for image, (height, width), logit in zip(batch, sizes, together, strict=True):
        np.testing.assert_allclose(logit, logits(model, variables, image[None, :height, :width])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NARROW)
def test_no_pixel_outside_a_window_moves_its_position(name):
    """The window that `stride`, `window` and `before` give is exact: a stride further in, a pixel does move the position."""
    model, variables, _ = drawn_resnet(name)
    backbone, place = model.backbone, (1, 2)
    side = backbone.stride * (max(place) + 1) + backbone.window - backbone.before
    image = images(1, side, side)
    x0, y0, x1, y1 = evidence.window(model, place, image[0])
    maps = jax.jit(lambda batch: model.apply(variables, batch).maps)

    def moved(first_column, last_column):
        other = 255 - image
        other[:, :, first_column:last_column] = image[:, :, first_column:last_column]
        return not np.array_equal(maps(other)[0][place], maps(image)[0][place])

    assert (y1 - y0, x1 - x0) == (min(place[0] * backbone.stride + backbone.window - backbone.before, side), x1)
    assert not moved(0, x1)
    assert moved(0, x1 - backbone.stride)


@pytest.mark.parametrize("protocol", ["native", "crop64", "tiles64_top50"])
def test_evidence_of_all_positions_and_the_bias_add_up_to_the_logit(protocol, noise):
    model, variables, config = drawn_resnet("npr")
    explanation = Detector(model, variables, Card(config.to_dict())).explain(noise(83, 131), protocol=protocol)
    logit, locations = explanation.prediction.logit, explanation.locations
    assert explanation.bias + sum(location.evidence for location in locations) == pytest.approx(logit, rel=1e-4, abs=1e-4)
    assert all(0 <= x0 < x1 <= 131 and 0 <= y0 < y1 <= 83 for x0, y0, x1, y1 in (location.box for location in locations))
    assert (explanation.entries, explanation.heat.shape, explanation.overlay().size) == ([], (83, 131), (131, 83))


def test_a_run_of_npr_goes_from_config_to_table_and_comes_back_from_pytorchs_names(tmp_path):
    config = preset("npr", (4, 6))
    config.update_from_flattened_dict(
        {
            "epochs": None,
            "steps": 4,
            "batch_size": 8,
            "data.source": "synthetic",
            "data.classes": "",
            "data.resize": 0,
            "data.crop": 32,
            "eval.protocol": "native",
            "log_every_steps": 2,
        }
    )
    config.data.synthetic.update({"side": 48, "train": 16, "val": 8, "test": 16})
    results = train_and_evaluate(config, tmp_path / "run")
    assert results["last"].rows
    losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses
    from lfm_jax.weights import io as weights_io

    weights = weights_io.load(tmp_path / "run")
    assert weights.card.model["backbone"] == "npr"
    model = models.build(weights.card.model_config())
    assert equal_to_the_bit(from_state_dict(to_state_dict(weights.variables, model), model), weights.variables)


def test_more_stages_than_a_resnet_has_are_refused():
    config = config_lib.model()
    config.backbone, config.widths = "npr", (4,) * 5
    with pytest.raises(ConfigError, match=r"config\.model\.widths = \(4, 4, 4, 4, 4\)"):
        models.build(config)
