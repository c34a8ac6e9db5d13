"""`--format=onnx`: one graph from uint8 pixels to logits, BatchNorm folded, for ONNX Runtime on any device or in a browser.

The input is `images` uint8 RGB [batch, height, width, 3]. The outputs are `logits` float32 [batch] and `evidence` float32
[batch, rows, columns], what each map position adds to the logit: its sum plus the metadata's `bias` is the logit. The metadata
also holds the `card`; NAME.onnx.card.json beside the file is the same card, for runtimes that do not show metadata.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from lfm_jax import __version__
from lfm_jax.errors import WeightsError
from lfm_jax.export.cards import card_json
from lfm_jax.export.parity import Scorer
from lfm_jax.inference.network import Network
from lfm_jax.models import Lfm, folding
from lfm_jax.models.heads import LinearHead
from lfm_jax.ops.npr import normalize
from lfm_jax.ops.pooling import top_k_pool
from lfm_jax.weights.files import card_name

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8  # of 2022; ScatterElements can add from 16 on
INT32 = 6  # onnx.TensorProto.INT32
ABOUT = (
    "LFM detector of AI-generated images. A logit above 0 speaks for fake; how to make `images` and read `logits`: metadata `card`."
)


def write_onnx(path: Path, network: Network, side: int) -> None:
    """Write the model, and its card beside it. Raises WeightsError as `build` does."""
    import onnx

    graph = build(network, side)
    onnx.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString())
    path.with_name(card_name(path.name)).write_text(card_json(network) + "\n")


def onnx_scorer(path: Path) -> Scorer:
    """The file in ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


def build(network: Network, side: int) -> "onnx.ModelProto":
    """The model for images of `side` x `side` px, or of any size if `side` is 0.

    Raises:
      WeightsError: another network than SNet with top-k pooling of k positions and a linear head.
    """
    from onnx import TensorProto, helper

    model, folded = network.model, folding.fold(network.model, network.variables)
    if "blocks" not in folded or model.pooling.pool is not top_k_pool or not isinstance(model.head, LinearHead):
        raise WeightsError("--format=onnx is for SNet with top-k pooling and a linear head; --format=stablehlo takes any network")
    if model.pooling.share:
        field = "pooling.kind" if model.pooling.draw else "pooling.k_share"
        raise WeightsError(f"--format=onnx pools k positions, model.{field} another number: --format=stablehlo --side=PX takes it")
    graph = _Graph()
    _head(graph, model, folded["head"], _maps(graph, model, folded))
    sides = [side, side] if side else ["height", "width"]
    cells = [model.map_side(side)] * 2 if side else ["rows", "columns"]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *sides, 3])]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch"]),
        helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["batch", *cells]),
    ]
    built = helper.make_model(
        helper.make_graph(graph.nodes, "lfm", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lfm_jax",
        producer_version=__version__,
        doc_string=ABOUT,
    )
    helper.set_model_props(built, {"card": card_json(network), "bias": str(folded["head"]["bias"][0])})
    return built


class _Graph:
    """The nodes and constants of a graph that is being built. Each method adds one and returns its name.

    A node is named after its first output.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, list(outputs), name=outputs[0], **attributes))
        return outputs[0]

    def constant(self, name: str, array: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))


def _maps(graph: _Graph, model: Lfm, folded: dict[str, Any]) -> str:
    """Adds the nodes from `images` to the maps [N, M, h, w]."""
    x = _residual(graph, model, _normalized(graph, model))
    for number, block in enumerate(folded["blocks"], start=1):
        kernel = graph.constant(f"kernel{number}", block["kernel"].transpose(3, 2, 0, 1))
        bias = graph.constant(f"bias{number}", block["bias"])
        x = graph.node("Conv", [x, kernel, bias], f"conv{number}", kernel_shape=[2, 2])
        x = graph.node("Relu", [x], f"relu{number}")
        if number < len(folded["blocks"]):
            x = graph.node("MaxPool", [x], f"pool{number}", kernel_shape=[2, 2], strides=[2, 2])
    project = graph.constant("project", folded["project"].T[:, :, None, None])
    return graph.node("Conv", [x, project], "maps", kernel_shape=[1, 1])


def _normalized(graph: _Graph, model: Lfm) -> str:
    """Adds the nodes from `images` to normalised [N, 3, H, W], without the last rows and columns that fill no residual block.

    They look the values of `ops.npr.normalize` up in a table, so that no runtime can round a division in its own way.
    """
    size = graph.node("Shape", ["images"], "size", start=1, end=3)
    factor = graph.integers("factor", model.residual.factor)
    whole = graph.node("Mul", [graph.node("Div", [size, factor], "blocks"), factor], "whole_size")
    images = graph.node("Slice", ["images", graph.integers("origin", 0, 0), whole, graph.integers("sides", 1, 2)], "whole_images")
    planes = graph.node("Transpose", [images], "planes", perm=[0, 3, 1, 2])
    levels = jnp.arange(256, dtype=jnp.uint8)[None, :, None, None].repeat(3, axis=3)
    table = graph.constant("table", np.asarray(normalize(levels, model.mean, model.std))[0, :, 0].T.reshape(-1))
    channels = graph.constant("channels", np.array([0, 256, 512], np.int32).reshape(3, 1, 1))
    places = graph.node("Add", [graph.node("Cast", [planes], "levels", to=INT32), channels], "table_places")
    return graph.node("Gather", [table, places], "normalized")


def _residual(graph: _Graph, model: Lfm, x: str) -> str:
    """Adds the nodes from [N, 3, H, W] to its NPR residual; see `ops.npr.npr_residual`."""
    kind, scale = model.residual.kind, model.residual.scale
    factor, anchor = model.residual.factor, model.residual.anchor
    if kind != "none":
        starts, ends = graph.integers("starts", *anchor), graph.integers("ends", *[np.iinfo(np.int64).max] * 2)
        axes, steps = graph.integers("rows_and_columns", 2, 3), graph.integers("a_block", factor, factor)
        anchors = graph.node("Slice", [x, starts, ends, axes, steps], "anchors")
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        scales = graph.constant("enlarged", np.array([1, 1, factor, factor], np.float32))
        spread = graph.node("Resize", [anchors, "", scales], "spread", **nearest)
        x = graph.node("Sub", [x, spread], "signed_residual")
    if kind == "abs":
        x = graph.node("Abs", [x], "residual")
    return x if scale == 1 else graph.node("Mul", [x, graph.constant("scale", np.float32(scale))], "scaled_residual")


def _head(graph: _Graph, model: Lfm, head: dict[str, Any], maps: str) -> None:
    """Adds the nodes from the maps [N, M, h, w] to `logits` [N] and `evidence` [N, h, w]."""
    by_map, flat = graph.integers("by_map", 0, model.maps, -1), graph.integers("flat", 0, -1)
    rows = graph.node("Reshape", [maps, by_map], "rows")
    values = graph.node("TopK", [rows, graph.integers("k", model.k)], "values", "positions")
    kernel, bias = (graph.constant(f"head_{name}", head[name]) for name in ("kernel", "bias"))
    column = graph.node("Gemm", [graph.node("Reshape", [values, flat], "flat_values"), kernel, bias], "column")
    graph.node("Squeeze", [column, graph.integers("last", 1)], "logits")

    weights = graph.constant("head_weights", head["kernel"].reshape(1, model.maps, model.k))
    added = graph.node("Reshape", [graph.node("Mul", [values, weights], "added"), flat], "flat_added")
    places = graph.node("Reshape", ["positions", flat], "flat_positions")
    shape = graph.node("Gather", [graph.node("Shape", [maps], "maps_shape"), graph.integers("without_maps", 0, 2, 3)], "shape")
    nothing = graph.node("Reshape", [graph.node("ConstantOfShape", [shape], "nothing"), flat], "flat_nothing")
    total = graph.node("ScatterElements", [nothing, places, added], "flat_evidence", axis=1, reduction="add")
    graph.node("Reshape", [total, shape], "evidence")
