"""Files that people really have: other wrappers and prefixes load, and what is no weights says what it is."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import WeightsError
from lfm_jax.models import random_variables
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.io import Weights
from lfm_jax.weights.state_dict import to_state_dict
from tests.helpers.networks import equal_to_the_bit


@pytest.fixture(scope="module")
def weights():
    config = config_lib.model()
    config.widths, config.maps, config.pooling.k = (4, 6), 5, 3
    return Weights(jax.tree.map(np.asarray, random_variables(models.build(config))), Card(config.to_dict()))


@pytest.fixture(scope="module")
def state(weights):
    return to_state_dict(weights.variables, models.build(weights.card.model_config()))


@pytest.mark.parametrize("wrapper", ["net", "model_state_dict", ""])
@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.", "module._orig_mod.", ""])
def test_wrappers_and_prefixes_of_training_tools_load(tmp_path, weights, state, wrapper, prefix):
    torch = pytest.importorskip("torch", reason="writes .pth files")
    tensors = {
        prefix + key: torch.nn.Parameter(torch.from_numpy(array), requires_grad=array.dtype.kind == "f")
        for key, array in state.items()
    }
    torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, tmp_path / "w.pth")
    assert equal_to_the_bit(weights_io.load(tmp_path / "w.pth").variables, weights.variables)


def test_bfloat16_loads_as_the_same_values(tmp_path, state):
    torch = pytest.importorskip("torch", reason="writes .pth files")
    tensors = {key: torch.from_numpy(array).to(torch.bfloat16 if key == "fc1.weight" else None) for key, array in state.items()}
    torch.save(tensors, tmp_path / "w.pth")
    kernel = weights_io.load(tmp_path / "w.pth").variables["params"]["head"]["kernel"]
    assert np.array_equal(kernel[:, 0], tensors["fc1.weight"].float().numpy().ravel())


@pytest.mark.parametrize("kind", ["complex64", "int8", "sparse", "meta"])
def test_tensors_that_would_be_read_as_other_numbers_are_refused(tmp_path, state, kind):
    torch = pytest.importorskip("torch", reason="writes .pth files")
    tensors = {key: torch.from_numpy(array) for key, array in state.items()}
    odd = tensors["fc1.weight"]
    tensors["fc1.weight"] = {
        "complex64": lambda: odd.to(torch.complex64),
        "int8": lambda: odd.to(torch.int8),
        "sparse": lambda: odd.to_sparse(),
        "meta": lambda: odd.to("meta"),
    }[kind]()
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth.*fc1\.weight"):
        weights_io.load(tmp_path / "w.pth")


def test_quantised_safetensors_are_refused(tmp_path, state):
    save_file({**state, "fc1.weight": state["fc1.weight"].astype(np.int8)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"fc1\.weight holds int8 values"):
        weights_io.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_what_is_often_found_in_place_of_weights_is_called_by_its_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        weights_io.load(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_card_of_other_weights_is_refused(tmp_path, weights, state, name):
    weights_io.save(tmp_path / name, weights)
    weights_io.load(tmp_path / name)
    if name == "w.pth":
        card = tmp_path / "w.pth.card.json"
        card.write_text(card.read_text().replace('"weights_sha256": "', '"weights_sha256": "00'))
    else:
        content = bytearray((tmp_path / name).read_bytes())
        content[content.find(state["fc1.weight"].tobytes())] ^= 1
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="belongs to other weights, or the weights are damaged"):
        weights_io.load(tmp_path / name)


def test_negative_variances_are_refused(tmp_path, state):
    save_file({**state, "cnn.layer1.1.running_var": -state["cnn.layer1.1.running_var"]}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="block1/norm/var has variances below zero"):
        weights_io.load(tmp_path / "w.safetensors")


def test_a_conversion_goes_on_where_a_killed_one_left_its_folder(tmp_path, weights):
    left = tmp_path / "checkpoint" / "0.orbax-checkpoint-tmp-0"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    weights_io.save(tmp_path / "checkpoint", weights)
    assert not left.exists()
    assert equal_to_the_bit(weights_io.load(tmp_path / "checkpoint").variables, weights.variables)
