"""ResNets under PyTorch's names: which is which, there and back, files of others, and a classifier as a start."""

import json

import jax
import numpy as np
import pytest

from lfm_jax.errors import WeightsError
from lfm_jax.export import export
from lfm_jax.training import run
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.io import Weights
from lfm_jax.weights.state_dict import from_state_dict, to_state_dict
from tests.helpers.networks import NARROW, drawn_resnet, equal_to_the_bit, preset

SUFFIXES = [".pth", ".safetensors"]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="reads and writes .pth files")


def drawn_state(name):
    """The tensors of a narrow network under PyTorch's names."""
    model, variables, _ = drawn_resnet(name)
    return to_state_dict(variables, model)


def weights_of(name, **changes):
    _, variables, config = drawn_resnet(name)
    config.update_from_flattened_dict(changes)
    return Weights(variables, Card(config.to_dict(), protocol="crop64"))


@pytest.mark.parametrize("name", NARROW)
def test_the_order_shapes_and_dtypes_are_those_of_pytorchs_own_state_dict(name, torch):
    from lfm_jax.export.lfm_torch import TorchResNet

    state, own = drawn_state(name), TorchResNet(NARROW[name], npr=name == "npr").state_dict()
    assert set(state) == set(own)
    for key, tensor in own.items():
        assert (state[key].shape, str(state[key].dtype)) == (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")), key


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_route_keeps_every_bit_and_the_card(name, suffix, tmp_path, torch):
    weights = weights_of(name)
    weights_io.save(tmp_path / f"w{suffix}", weights)
    weights_io.convert(tmp_path / f"w{suffix}", tmp_path / "checkpoint")
    loaded = weights_io.load(tmp_path / "checkpoint")
    assert equal_to_the_bit(loaded.variables, weights.variables)
    assert loaded.card.model_config() == weights.card.model_config()


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("wrap", ["bare", "model", "module."])
def test_a_bare_file_tells_its_network_and_sizes(name, wrap, tmp_path, torch):
    weights = weights_of(name)
    state = {key: torch.from_numpy(array) for key, array in drawn_state(name).items()}
    if wrap == "module.":
        state = {f"module.{key}": tensor for key, tensor in state.items()}
    torch.save({"model": state, "total_steps": 3} if wrap == "model" else state, tmp_path / "w.pth")
    loaded = weights_io.load(tmp_path / "w.pth")
    assert equal_to_the_bit(loaded.variables, weights.variables)
    model, own = loaded.card.model_config().to_dict(), preset(name, NARROW[name]).model.to_dict()
    for field in ("backbone", "widths", "maps", "residual", "pooling", "head"):
        assert model[field] == own[field], field


def test_counters_that_old_files_lack_are_zeros():
    state = {key: array for key, array in drawn_state("npr").items() if not key.endswith("num_batches_tracked")}
    variables = from_state_dict(state)
    assert variables["batch_stats"]["backbone"]["stem"]["count"] == 0
    assert equal_to_the_bit(variables["params"], drawn_resnet("npr")[1]["params"])


def test_missing_and_unexpected_keys_are_named_under_the_network_they_were_taken_for():
    state = drawn_state("npr")
    del state["layer2.3.bn2.running_var"], state["fc1.bias"]
    state["layer9.weight"] = np.zeros((1, 2), np.float32)
    with pytest.raises(WeightsError) as caught:
        from_state_dict(state)
    for part in ("the weights of NPR", "missing layer2.3.bn2.running_var", "missing fc1.bias", "unexpected layer9.weight (1, 2)"):
        assert part in str(caught.value)


def test_mis_shaped_tensors_are_named_with_what_was_expected():
    state = drawn_state("resnet50")
    state["layer2.0.downsample.0.weight"] = np.zeros((24, 9, 1, 1), np.float32)
    state["conv1.weight"] = np.zeros((4, 3, 3, 3), np.float32)
    with pytest.raises(WeightsError) as caught:
        from_state_dict(state)
    assert "mis-shaped layer2.0.downsample.0.weight: (24, 9, 1, 1), expected (24, 16, 1, 1)" in str(caught.value)
    assert "mis-shaped conv1.weight: (4, 3, 3, 3), expected (4, 3, 7, 7)" in str(caught.value)


def test_keys_of_no_known_network_are_answered_with_those_that_are_known():
    with pytest.raises(WeightsError) as caught:
        from_state_dict({"features.0.weight": np.zeros((4, 3, 3, 3), np.float32)})
    for part in ("LFM (cnn.layer1.0.weight", "NPR (conv1.weight", "ResNet-50 (conv1.weight", "found features.0.weight"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [("npr", {"residual.kind": "abs"}, r"model\.residual\.kind = 'abs'"), ("resnet50", {"residual.scale": 0.5}, "NPR|ResNet-50")],
)
def test_a_network_that_is_not_the_published_one_of_its_names_goes_to_safetensors(name, changes, field, tmp_path):
    weights = weights_of(name, **changes)
    with pytest.raises(WeightsError, match=field):
        weights_io.save(tmp_path / "w.pth", weights)
    weights_io.save(tmp_path / "w.safetensors", weights)
    assert weights_io.load(tmp_path / "w.safetensors").card.model_config() == weights.card.model_config()


def test_a_trunk_with_a_projection_and_top_k_goes_to_safetensors(tmp_path):
    _, variables, config = drawn_resnet("npr")
    config.update_from_flattened_dict({"maps": 3, "pooling.kind": "topk", "pooling.k": 2})
    params = {**variables["params"], "project": np.ones((24, 3), np.float32)}
    params["head"] = {"kernel": np.arange(6, dtype=np.float32)[:, None], "bias": np.zeros(1, np.float32)}
    weights_io.save(tmp_path / "w.safetensors", Weights({**variables, "params": params}, Card(config.to_dict())))
    assert equal_to_the_bit(weights_io.load(tmp_path / "w.safetensors").variables, {**variables, "params": params})


@pytest.fixture
def classifier(tmp_path, torch):
    """A narrow ResNet-50 for seven classes, as torchvision keeps its own for a thousand."""
    state = {key: torch.from_numpy(array) for key, array in drawn_state("resnet50").items()}
    torch.save({**state, "fc.weight": torch.zeros(7, 24), "fc.bias": torch.zeros(7)}, tmp_path / "classifier.pth")
    return tmp_path / "classifier.pth"


def test_a_classifier_is_not_a_detector(classifier):
    with pytest.raises(WeightsError, match=r"tells 7 classes apart and is not a detector.*init_from"):
        weights_io.load(classifier)


def test_training_from_a_classifier_takes_its_trunk_and_a_new_head(classifier, tmp_path, capfd):
    from lfm_jax.weights.checkpoint import Checkpoints

    config = preset("resnet50", NARROW["resnet50"])
    config.update_from_flattened_dict({"data.source": "synthetic", "batch_size": 8, "init_from": str(classifier)})
    config.data.synthetic.update({"side": 256, "train": 8, "val": 8, "test": 8})
    prepared = run.set_up(config, tmp_path)
    with Checkpoints(tmp_path / "run", keep=1) as checkpoints:
        state = run.starting_state(prepared, checkpoints)
    expected = drawn_resnet("resnet50")[1]
    assert equal_to_the_bit(jax.tree.map(np.asarray, state.params["backbone"]), expected["params"]["backbone"])
    assert equal_to_the_bit(jax.tree.map(np.asarray, state.batch_stats), expected["batch_stats"])
    kernel = np.asarray(state.params["head"]["kernel"])
    assert kernel.shape == (24, 1) and 0 < np.abs(kernel).max() <= 24**-0.5
    assert "its trunk is used and the head starts fresh" in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", NARROW)
def test_a_program_of_a_resnet_takes_any_side(tmp_path, name):
    exported = export(weights_of(name), tmp_path / "net.stablehlo", format="stablehlo")
    assert exported.parity.images > 4 and exported.parity.largest < 1e-4


def test_a_pth_of_npr_is_exported_with_what_runs_it_and_onnx_is_refused(tmp_path, torch, lfm):
    weights_io.save(tmp_path / "npr.safetensors", weights_of("npr"))
    ran = lfm("export", "--weights", tmp_path / "npr.safetensors", "--format", "torch", tmp_path / "out" / "npr.pth")
    assert (ran.status, ran.err) == (0, "")
    assert float(ran.out.split()[-1]) <= 1e-4
    assert json.loads((tmp_path / "out" / "npr.pth.card.json").read_text())["model"]["backbone"] == "npr"
    refused = lfm("export", "--weights", tmp_path / "npr.safetensors", "--format", "onnx", tmp_path / "out" / "npr.onnx")
    assert refused.status == 2 and "--format=stablehlo takes any network" in refused.err
    refused = lfm("bench", "--weights", tmp_path / "npr.safetensors")
    assert refused.status == 2 and "lfm bench is for SNet, not npr" in refused.err
