"""`lfm export`: what it prints and writes, that it notices a wrong file, and what it refuses."""

import csv
import json
import sys
import zipfile

import jax
import numpy as np
import pytest

import lfm_jax
from lfm_jax import models
from lfm_jax.data.images import decode
from lfm_jax.data.protocols import parse
from lfm_jax.errors import UserError
from lfm_jax.export import FORMATS, export, onnx_file
from lfm_jax.inference.detector import load
from lfm_jax.models import random_variables
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.io import Weights

FILES = {
    "onnx": {"w.onnx", "w.onnx.card.json"},
    "stablehlo": {"w.stablehlo", "lfm_stablehlo.py"},
    "safetensors": {"w.safetensors"},
    "torch": {"w.pth", "w.pth.card.json", "lfm_torch.py"},
}


def name_for(format):
    return next(name for name in FILES[format] if name.endswith(FORMATS[format].suffixes))


def names(folder):
    return {path.name for path in folder.iterdir()}


def changed(weights, **fields):
    """Random weights of the same network with other fields of the model config."""
    config = weights.card.model_config()
    config.update_from_flattened_dict(fields)
    card = type(weights.card)(config.to_dict())
    return Weights(random_variables(models.build(config)), card)


def embedded_card(path):
    if path.suffix == ".onnx":
        onnx = pytest.importorskip("onnx")
        return json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}["card"])
    if path.suffix == ".stablehlo":
        return json.loads(zipfile.ZipFile(path).read("card.json"))
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            return json.loads(file.metadata()["card"])
    return json.loads(path.with_name(f"{path.name}.card.json").read_text())


@pytest.mark.parametrize("format", FILES)
def test_an_export_is_checked_and_carries_its_card(lfm, format, weights_file, tiny_detector, tmp_path):
    if format == "torch":
        pytest.importorskip("torch", reason="writes .pth")
    path = tmp_path / "made" / "for" / name_for(format)
    ran = lfm("export", "--weights", weights_file, "--format", format, path)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{path}: weights {tiny_detector.card.weights_sha256[:12]} from {weights_file}")
    assert float(ran.out.split()[-1]) <= 1e-4
    assert names(path.parent) == FILES[format]
    card = embedded_card(path)
    assert card["weights_sha256"] == tiny_detector.card.weights_sha256
    assert {"temperature", "threshold", "training", "licence"} <= set(card)
    assert len(card["model"]["mean"]) == len(card["model"]["std"]) == 3
    assert card["preprocessing"] == {"name": "crop256", "resize": 0, "crop": 256, "pad": False, "tiles": 0, "stride": 0, "top": 100}


@pytest.mark.parametrize("format", ["onnx", "safetensors", "stablehlo"])
def test_the_same_weights_give_the_same_bytes(format, tiny_detector, tmp_path):
    written = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        FORMATS[format].write(tmp_path / folder / name_for(format), tiny_detector, 0)
        written.append((tmp_path / folder / name_for(format)).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("error", [1e-3, np.nan])
def test_a_file_that_computes_something_else_is_not_exported(lfm, weights_file, tmp_path, monkeypatch, error):
    """An older export under that name stays."""
    target = tmp_path / "w.onnx"
    target.write_text("an older export")
    build = onnx_file.build

    def build_wrongly(network, side):
        variables = jax.tree.map(np.array, network.variables)
        variables["params"]["head"]["bias"] += error
        return build(type(network)(network.model, variables, network.card), side)

    monkeypatch.setattr(onnx_file, "build", build_wrongly)
    ran = lfm("export", "--weights", weights_file, "--format", "onnx", target)
    assert ran.status == 1
    assert "nothing was exported" in ran.err
    assert names(tmp_path) == {"w.onnx"}
    assert target.read_text() == "an older export"


def test_exported_safetensors_load_like_any_weights(lfm, weights_file, tiny_detector, noise, tmp_path):
    lfm("export", "--weights", weights_file, "--format", "safetensors", tmp_path / "w.safetensors")
    pixels = np.asarray(noise(64, 64))[None]
    np.testing.assert_array_equal(lfm_jax.load(tmp_path / "w.safetensors").logits(pixels), tiny_detector.logits(pixels))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format=onnx", "w.pth"], ["w.pth", "--format=onnx", ".onnx"]),
        (["--format=torch", "w.onnx"], [".pth or .pt or .bin"]),
        (["--format=coreml", "w.onnx"], ["coreml", "onnx", "stablehlo", "safetensors", "torch"]),
        (["--format=safetensors", "--side=64", "w.safetensors"], ["--side=64", "safetensors"]),
        (["--format=onnx", "--side=16", "w.onnx"], ["16 x 16 px is too small"]),
        (["w.onnx"], ["--format"]),
    ],
    ids=" ".join,
)
def test_what_is_impossible_is_refused_with_what_is_possible(lfm, weights_file, tmp_path, arguments, words):
    ran = lfm("export", "--weights", weights_file, *arguments[:-1], tmp_path / arguments[-1])
    assert ran.status == 2
    for word in words:
        assert word in ran.err
    assert names(tmp_path) == set()


def test_a_missing_library_is_named_with_how_to_get_it(lfm, weights_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    ran = lfm("export", "--weights", weights_file, "--format", "onnx", tmp_path / "w.onnx")
    assert ran.status == 2
    assert "pip install 'lfm_jax[export]'" in ran.err
    assert names(tmp_path) == set()


SIGNED, PLAIN = {"residual.kind": "signed", "residual.scale": 2 / 3}, {"residual.kind": "none", "compute_dtype": "bfloat16"}
MEAN, MLP = {"pooling.kind": "mean", "residual.factor": 8}, {"head.kind": "mlp"}
MAX = {"pooling.kind": "max", "residual.factor": 4, "residual.anchor": (1, 3)}
SHARE, ATTENTION, RANDOM = {"pooling.k_share": 0.2}, {"pooling.kind": "attention"}, {"pooling.kind": "random"}


@pytest.mark.parametrize(
    ("fields", "format"),
    [
        (SIGNED, "onnx"),
        (PLAIN, "onnx"),
        (SHARE, "stablehlo"),
        (MLP | ATTENTION, "stablehlo"),
        (RANDOM, "safetensors"),
        (MLP, "safetensors"),
        (MAX, "safetensors"),
    ],
)
def test_other_networks_are_exported_as_float32(weights_file, tmp_path, fields, format):
    side = 64 * FORMATS[format].takes_side
    exported = export(changed(weights_io.load(weights_file), **fields), tmp_path / name_for(format), format=format, side=side)
    assert set(exported.files) == names(tmp_path) == FILES[format]
    assert embedded_card(tmp_path / name_for(format))["model"]["compute_dtype"] == "float32"


def test_other_blocks_of_the_residual_are_exported_for_any_side(weights_file, tmp_path):
    assert export(changed(weights_io.load(weights_file), **MAX), tmp_path / "w.onnx", format="onnx").parity.images > 4


@pytest.mark.parametrize(
    ("fields", "format"),
    [
        *((MEAN, "onnx"), (MLP, "onnx"), (SHARE, "onnx"), (RANDOM, "onnx")),
        *((SHARE, "stablehlo"), (RANDOM, "stablehlo"), (MEAN, "stablehlo")),
        *((MLP, "torch"), (ATTENTION, "torch"), (MAX, "torch"), (SIGNED, "torch"), (SHARE, "torch"), (RANDOM, "torch")),
    ],
)
def test_networks_that_a_format_cannot_hold_are_refused(weights_file, tmp_path, fields, format):
    with pytest.raises(UserError, match=r"stablehlo|checkpoint|\.safetensors|--side"):
        export(changed(weights_io.load(weights_file), **fields), tmp_path / name_for(format), format=format)
    assert names(tmp_path) == set()


@pytest.fixture(scope="module")
def released(shared):
    pytest.importorskip("torch", reason="reads .pth")
    return load(shared / "weights" / "lfm_bs_model.pth")


@pytest.mark.parametrize("format", FILES)
def test_the_released_weights_give_their_golden_logits(released, shared, format, tmp_path):
    with open(shared / "golden" / "logits.tsv", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["path"].startswith("test/")][::6]
    images = np.concatenate([parse("crop256")(decode(shared / "data" / row["path"])) for row in rows])
    expected = np.array([float(row["crop256"]) for row in rows])
    assert len(rows) > 10
    FORMATS[format].write(tmp_path / name_for(format), released, 0)
    differences = np.abs(FORMATS[format].scorer(tmp_path / name_for(format))(images) - expected)
    assert (differences <= 1e-4 + 1e-5 * np.abs(expected)).all(), differences.max()
