"""Weight files and directories: every route keeps every bit, hostile and foreign files are refused by name."""

import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import WeightsError
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card, content_hash
from lfm_jax.weights.io import Weights
from lfm_jax.weights.state_dict import to_state_dict
from tests.helpers.networks import drawn_variables, equal_to_the_bit
from tests.helpers.without import run_without


def make_weights(**changes):
    config = config_lib.model()
    config.widths, config.maps, config.pooling.k = (4, 6, 8, 10), 5, 3
    config.update_from_flattened_dict(changes)
    variables = drawn_variables(models.build(config))
    return Weights(variables, Card(config.to_dict(), protocol="crop64", threshold=0.25, licence="Apache-2.0"))


@pytest.fixture(scope="module")
def weights():
    return make_weights()


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="writes and reads .pth files of its own")


def named_by_pytorch(weights):
    return to_state_dict(weights.variables, models.build(weights.card.model_config()))


@pytest.mark.parametrize("route", [["a.pth"], ["a.safetensors"], ["a"], ["a.pth", "b", "c.safetensors", "d.pth"]])
def test_every_route_keeps_every_bit_and_the_card(tmp_path, weights, route):
    weights_io.save(tmp_path / route[0], weights)
    for source, target in itertools.pairwise(route):
        weights_io.convert(tmp_path / source, tmp_path / target)
    loaded = weights_io.load(tmp_path / route[-1])
    assert equal_to_the_bit(loaded.variables, weights.variables)
    assert (loaded.card.protocol, loaded.card.threshold, loaded.card.licence) == ("crop64", 0.25, "Apache-2.0")
    assert loaded.card.model_config() == weights.card.model_config()
    assert loaded.card.weights_sha256 == content_hash(weights.variables)


def test_the_released_file_comes_back_as_it_was(shared, tmp_path, torch):
    source = shared / "weights" / "lfm_bs_model.pth"
    weights_io.convert(source, tmp_path / "checkpoint")
    weights_io.convert(tmp_path / "checkpoint", tmp_path / "back.pth")
    released, back = (torch.load(path, weights_only=True, map_location="cpu") for path in (source, tmp_path / "back.pth"))
    assert list(back) == list(released)
    for key, tensor in released.items():
        assert back[key].dtype == tensor.dtype
        assert back[key].shape == tensor.shape
        assert torch.equal(back[key], tensor)


@pytest.mark.parametrize("wrap", ["model", "state_dict", "module.", "model + module."])
def test_wrapped_and_prefixed_files_load(tmp_path, weights, wrap, torch):
    state = {key: torch.from_numpy(array) for key, array in named_by_pytorch(weights).items()}
    if "module." in wrap:
        state = {f"module.{key}": tensor for key, tensor in state.items()}
    if "model" in wrap or wrap == "state_dict":
        state = {wrap.split(" ")[0]: state, "epoch": 3}
    if wrap == "module.":
        assert set(state) == {f"module.{key}" for key in named_by_pytorch(weights)}
    torch.save(state, tmp_path / "w.pth")
    loaded = weights_io.load(tmp_path / "w.pth")
    assert equal_to_the_bit(loaded.variables, weights.variables)


def test_bare_tensors_tell_their_own_sizes(tmp_path, weights, torch):
    torch.save({key: torch.from_numpy(array) for key, array in named_by_pytorch(weights).items()}, tmp_path / "w.pth")
    card = weights_io.load(tmp_path / "w.pth").card
    assert (tuple(card.model["widths"]), card.model["maps"], card.model["pooling"]["k"]) == ((4, 6, 8, 10), 5, 3)
    assert (card.protocol, card.threshold) == ("crop256", 0.5)


class Bomb:
    """Unpickling this would write a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_runs_nothing(tmp_path, writer, torch):
    trace = tmp_path / "ran"
    path = tmp_path / "w.pth"
    if writer == "torch":
        torch.save({"model": Bomb(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(WeightsError, match="was not run"):
        weights_io.load(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04broken"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        weights_io.load(tmp_path / name)


def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path, torch):
    torch.save({"optimizer": {"lr": 0.1}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="found keys optimizer, epoch"):
        weights_io.load(tmp_path / "w.pth")


def test_pth_files_are_read_and_written_without_pytorch(tmp_path, weights):
    weights_io.save(tmp_path / "w.safetensors", weights)
    code = """
from lfm_jax.weights import io
io.convert(sys.argv[1], sys.argv[2])
print(io.load(sys.argv[2]).card.weights_sha256)
"""
    printed = run_without(["torch"], code, tmp_path / "w.safetensors", tmp_path / "w.pth")
    assert printed.strip() == content_hash(weights.variables)


def test_the_same_weights_give_the_same_pth(tmp_path, weights):
    for name in ("a.pth", "b.pth"):
        weights_io.save(tmp_path / name, weights)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@pytest.mark.parametrize("name", ["nothing", "w.onnx"])
def test_no_weights_there_is_said_plainly(tmp_path, name):
    with pytest.raises(WeightsError, match=f"no weights at .*{name}"):
        weights_io.load(tmp_path / name)


def test_a_folder_without_checkpoints_says_what_was_looked_for(tmp_path):
    with pytest.raises(WeightsError, match="checkpoints/best/STEP"):
        weights_io.load(tmp_path)


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path, weights):
    with pytest.raises(WeightsError, match=r"use \.pth"):
        weights_io.save(tmp_path / "w.onnx", weights)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_not_written_over_something_else(tmp_path, weights):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("keep")
    with pytest.raises(WeightsError, match="exists and is not empty"):
        weights_io.save(tmp_path / "notes", weights)


def test_a_card_that_does_not_fit_its_tensors_names_the_tensor(tmp_path, weights):
    wrong = make_weights(maps=7).card
    with pytest.raises(WeightsError, match=r"mis-shaped params/project: \(10, 5\), the model has \(10, 7\)"):
        weights_io.save(tmp_path / "w.safetensors", Weights(weights.variables, wrong))
    assert not list(tmp_path.iterdir())
    weights_io.save(tmp_path / "w.pth", weights)
    (tmp_path / "w.pth.card.json").write_text(wrong.to_json())
    with pytest.raises(WeightsError, match=r"w\.pth: .*\n.*mis-shaped covn1_1.weight: \(5, 10, 1, 1\), expected \(7, 10, 1, 1\)"):
        weights_io.load(tmp_path / "w.pth")


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 3, "x": 1}'])
def test_a_damaged_card_is_named(tmp_path, weights, text):
    weights_io.save(tmp_path / "w.pth", weights)
    (tmp_path / "w.pth.card.json").write_text(text)
    with pytest.raises(WeightsError, match=r"w\.pth\.card\.json is damaged"):
        weights_io.load(tmp_path / "w.pth")


def test_a_card_with_an_unknown_field_is_refused(tmp_path, weights):
    weights_io.save(tmp_path / "w.pth", weights)
    card = tmp_path / "w.pth.card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"treshold": 0.4}))
    with pytest.raises(WeightsError, match="treshold"):
        weights_io.load(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"residual.kind": "signed"}, r"model\.residual\.kind = 'signed'"),
        ({"residual.scale": 0.5}, r"model\.residual\.scale = 0\.5"),
        ({"pooling.kind": "mean", "pooling.k": 1}, r"model\.pooling\.kind = 'mean'"),
    ],
)
def test_a_network_that_pytorch_would_read_otherwise_is_not_written_as_pth(tmp_path, changes, field):
    other = make_weights(**changes)
    with pytest.raises(WeightsError, match=field):
        weights_io.save(tmp_path / "w.pth", other)
    weights_io.save(tmp_path / "w.safetensors", other)
    assert equal_to_the_bit(weights_io.load(tmp_path / "w.safetensors").variables, other.variables)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"head.kind": "mlp"}, r"model\.head\.kind = 'mlp'"),
        ({"pooling.kind": "attention"}, r"model\.pooling\.kind = 'attention'"),
        ({"residual.factor": 4, "residual.anchor": (1, 3)}, r"model\.residual\.factor = 4"),
        ({"maps": 0}, r"model\.maps = 0 is not among them"),
    ],
    ids=str,
)
def test_a_network_without_names_in_pytorch_keeps_its_own_names_in_safetensors(tmp_path, changes, why):
    other = make_weights(**changes)
    with pytest.raises(WeightsError, match=rf"{why}.*\.safetensors"):
        weights_io.save(tmp_path / "w.pth", other)
    weights_io.save(tmp_path / "w.safetensors", other)
    weights_io.convert(tmp_path / "w.safetensors", tmp_path / "checkpoint")
    with safe_open(tmp_path / "w.safetensors", framework="numpy") as file:
        assert "params/backbone/block1/kernel" in file.keys()  # noqa: SIM118
    for name in ("w.safetensors", "checkpoint"):
        assert equal_to_the_bit(weights_io.load(tmp_path / name).variables, other.variables)


@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 10, 6)])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w"])
def test_any_number_of_blocks_comes_back(tmp_path, name, widths):
    other = make_weights(widths=widths)
    weights_io.save(tmp_path / name, other)
    assert equal_to_the_bit(weights_io.load(tmp_path / name).variables, other.variables)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a"])
@pytest.mark.parametrize("quote", ["", "'"])
def test_home_folders_and_quotes_are_understood_where_weights_are_read_and_written(tmp_path, weights, monkeypatch, name, quote):
    monkeypatch.setenv("HOME", str(tmp_path))
    written = f"{quote}~/{name}{quote}"
    weights_io.check_target(written, weights.card)
    weights_io.save(written, weights)
    assert (tmp_path / name).exists()
    assert equal_to_the_bit(weights_io.load(written).variables, weights.variables)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, weights, monkeypatch):
    path = tmp_path / "w.safetensors"
    weights_io.save(path, weights)
    before = path.read_bytes()

    def full_disk(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        weights_io.save(path, weights)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_pth_never_appears_without_its_card(tiny_detector, tmp_path, monkeypatch):
    """Killed between the two files, there is a card without weights; weights without a card would have another threshold."""
    torch = pytest.importorskip("torch")
    from lfm_jax.weights import files

    class KilledError(BaseException):
        pass

    def killed(*_):
        raise KilledError

    monkeypatch.setattr(files, "write_whole", killed)
    with pytest.raises(KilledError):
        files.write_torch(tmp_path / "w.pth", {"a": np.zeros(1, np.float32)}, tiny_detector.card)
    assert torch and not (tmp_path / "w.pth").exists()
