"""The ONNX graph in ONNX Runtime gives the detector's logits for any batch and size, and evidence that adds up to them."""

import numpy as np
import pytest

from lfm_jax.export import onnx_file

onnx = pytest.importorskip("onnx", reason="writes ONNX")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX")

# The operators a graph may use, so that every runtime can run it.
PLAIN = {"Abs", "Add", "Cast", "ConstantOfShape", "Conv", "Div", "Gather", "Gemm", "MaxPool", "Mul", "Relu", "Reshape"}
PLAIN |= {"Resize", "ScatterElements", "Shape", "Slice", "Squeeze", "Sub", "TopK", "Transpose"}


def start(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def tiny(tiny_detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    onnx_file.write_onnx(path, tiny_detector, 0)
    return path


def test_the_graph_declares_what_it_takes_and_gives(tiny):
    model = onnx.load(tiny)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert {node.op_type for node in model.graph.node} == PLAIN
    session = start(tiny)
    (images,), outputs = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", "height", "width", 3])
    assert [(output.name, output.type, len(output.shape)) for output in outputs] == [
        ("logits", "tensor(float)", 1),
        ("evidence", "tensor(float)", 3),
    ]


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (3, 50, 83), (2, 97, 70), (1, 32, 32)])
def test_logits_are_the_detectors_whatever_the_size(tiny, tiny_detector, noise, batch, height, width):
    images = np.stack([np.asarray(noise(height, width, seed=seed)) for seed in range(batch)])
    (logits,) = start(tiny).run(["logits"], {"images": images})
    assert (logits.shape, logits.dtype) == ((batch,), np.float32)
    np.testing.assert_allclose(logits, tiny_detector.logits(images), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (51, 96)])
def test_evidence_is_that_of_the_explanation_and_adds_up_to_the_logit(tiny, tiny_detector, noise, height, width):
    images = np.stack([np.asarray(noise(height, width, seed=seed)) for seed in range(2)])
    session = start(tiny)
    logits, evidence = session.run(None, {"images": images})
    bias = float(session.get_modelmeta().custom_metadata_map["bias"])
    np.testing.assert_allclose(bias + evidence.sum((1, 2)), logits, atol=1e-3)
    for image, by_position in zip(images, evidence, strict=True):
        expected = np.zeros_like(by_position)
        for location in tiny_detector.explain(image, protocol="native").locations:
            expected[location.row, location.col] += location.evidence
        np.testing.assert_allclose(by_position, expected, atol=1e-4)


def test_a_fixed_side_takes_nothing_else(tiny_detector, noise, tmp_path):
    onnx_file.write_onnx(tmp_path / "fixed.onnx", tiny_detector, 64)
    session = start(tmp_path / "fixed.onnx")
    assert session.get_inputs()[0].shape == ["batch", 64, 64, 3]
    assert session.get_outputs()[1].shape == ["batch", 6, 6]
    images = np.stack([np.asarray(noise(64, 64, seed=seed)) for seed in range(3)])
    logits, evidence = session.run(None, {"images": images})
    np.testing.assert_allclose(logits, tiny_detector.logits(images), rtol=0, atol=1e-4)
    assert evidence.shape == (3, 6, 6)
    with pytest.raises(Exception, match="dimensions"):
        session.run(None, {"images": images[:, :48]})


def test_an_image_too_small_is_an_error(tiny):
    with pytest.raises(Exception, match="TopK"):
        start(tiny).run(None, {"images": np.zeros((1, 28, 28, 3), np.uint8)})
