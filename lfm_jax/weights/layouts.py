"""PyTorch's names for the published networks: one table per network, read in both directions by `weights.state_dict`.

LFM's names are those of the released file. NPR's are those of its own code: torchvision's ResNet cut off after layer2, with
`fc1` at its end. ResNet-50's are those of torchvision and CNNDetection.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from lfm_jax.models import Lfm, ResNet, SNet
from lfm_jax.models.heads import LinearHead
from lfm_jax.models.resnet import BLOCKS, EXPANSION
from lfm_jax.ops.npr import Residual

StateDict = dict[str, np.ndarray]
Variables = dict[str, Any]
HWIO_TO_OIHW = (3, 2, 0, 1)


class Row(NamedTuple):
    """One tensor. `axes` is the permutation from our axes to PyTorch's; axes of length 1 are then added or dropped."""

    key: str
    path: tuple[str, ...]  # ours, beginning with "params" or "batch_stats"
    shape: tuple[int, ...]  # PyTorch's
    axes: tuple[int, ...] | None = None


class Sizes(NamedTuple):
    """What the shapes follow from: widths of blocks or stages, maps (0 without a projection), values per map, logits."""

    widths: tuple[int, ...]
    maps: int
    k: int = 1
    classes: int = 1


class Layout(NamedTuple):
    """A network under its PyTorch names, and the fields of the model config that these names stand for."""

    name: str
    keys: str  # examples, for messages
    fields: Mapping[str, Any]
    rows: Callable[[Sizes], list[Row]]
    sizes: Callable[[Mapping[str, np.ndarray]], Sizes]
    frozen: Mapping[str, np.ndarray] = {}


def _norm_rows(key: str, params: tuple[str, ...], stats: tuple[str, ...], width: int) -> list[Row]:
    return [
        Row(f"{key}.weight", (*params, "scale"), (width,)),
        Row(f"{key}.bias", (*params, "bias"), (width,)),
        Row(f"{key}.running_mean", (*stats, "mean"), (width,)),
        Row(f"{key}.running_var", (*stats, "var"), (width,)),
        Row(f"{key}.num_batches_tracked", (*stats, "count"), ()),
    ]


def _end_rows(head: str, channels: int, sizes: Sizes) -> list[Row]:
    """The projection and the head. release: "covn1_1" is how the released file spells it."""
    pooled = (sizes.maps or channels) * sizes.k
    project = [Row("covn1_1.weight", ("params", "project"), (sizes.maps, channels, 1, 1), (1, 0))] if sizes.maps else []
    return [
        *project,
        Row(f"{head}.weight", ("params", "head", "kernel"), (sizes.classes, pooled), (1, 0)),
        Row(f"{head}.bias", ("params", "head", "bias"), (sizes.classes,)),
    ]


def _snet_rows(sizes: Sizes) -> list[Row]:
    rows, before = [], 3
    for index, width in enumerate(sizes.widths, start=1):
        path = ("backbone", f"block{index}")
        conv = f"cnn.layer{index}.0"
        rows += [
            Row(f"{conv}.weight", ("params", *path, "kernel"), (width, before, 2, 2), HWIO_TO_OIHW),
            Row(f"{conv}.bias", ("params", *path, "bias"), (width,)),
            *_norm_rows(f"cnn.layer{index}.1", ("params", *path, "norm"), ("batch_stats", *path, "norm"), width),
        ]
        before = width
    return rows + _end_rows("fc1", before, sizes)


def _snet_sizes(state: Mapping[str, np.ndarray]) -> Sizes:
    blocks = sum(re.fullmatch(r"cnn\.layer\d+\.0\.weight", key) is not None for key in state)
    widths = tuple(_size(state, f"cnn.layer{index}.0.bias") for index in range(1, max(blocks, 1) + 1))
    maps = max(_size(state, "covn1_1.weight"), 1)
    return Sizes(widths, maps, max(np.size(state.get("fc1.weight", ())) // maps, 1))


def _resnet_rows(sizes: Sizes, *, stem: int, head: str) -> list[Row]:
    rows: list[Row] = []

    def add(conv: str, norm: str, path: tuple[str, ...], width: int, before: int, side: int) -> None:
        params = ("params", "backbone", *path)
        rows.append(Row(f"{conv}.weight", (*params, "kernel"), (width, before, side, side), HWIO_TO_OIHW))
        rows.extend(_norm_rows(norm, params, ("batch_stats", "backbone", *path), width))

    before = sizes.widths[0]
    add("conv1", "bn1", ("stem",), before, 3, stem)
    for stage, (width, blocks) in enumerate(zip(sizes.widths, BLOCKS, strict=False), start=1):
        for index in range(blocks):
            key, block, wide = f"layer{stage}.{index}.", f"stage{stage}_block{index + 1}", EXPANSION * width
            convs = [(width, before, 1), (width, width, 3), (wide, width, 1)]
            for number, (after, channels, side) in enumerate(convs, start=1):
                add(f"{key}conv{number}", f"{key}bn{number}", (block, f"conv{number}"), after, channels, side)
            if index == 0:
                add(f"{key}downsample.0", f"{key}downsample.1", (block, "downsample"), wide, before, 1)
            before = wide
    return rows + _end_rows(head, before, sizes)


def _resnet_sizes(state: Mapping[str, np.ndarray], *, head: str) -> Sizes:
    stages = max((int(key[5]) for key in state if re.match(r"layer[1-4]\.", key)), default=1)
    widths = tuple(_size(state, f"layer{stage}.0.conv1.weight") for stage in range(1, stages + 1))
    maps = _size(state, "covn1_1.weight")
    classes = max(_size(state, f"{head}.bias"), 1)
    pooled = np.size(state.get(f"{head}.weight", ())) // classes
    return Sizes(widths, maps, max(pooled // (maps or EXPANSION * widths[-1] or 1), 1), classes)


def _size(state: Mapping[str, np.ndarray], key: str) -> int:
    """Of the first axis; 0 where the tensor is missing, so that all missing ones can be listed."""
    return next(iter(np.shape(state.get(key, ()))), 0)


def _fields(residual: Residual, **others: Any) -> dict[str, Any]:
    options = {f"residual.{name}": value for name, value in asdict(residual).items()}
    return {**options, "pooling.k_share": 0.0, "head.kind": "linear", **others}


def _resnet(name: str, *, stem: int, head: str, residual: Residual) -> Layout:
    return Layout(
        name,
        f"conv1.weight, layer1.0.conv1.weight, ..., {head}.weight",
        _fields(residual, maps=0, **{"pooling.kind": "mean"}),
        lambda sizes: _resnet_rows(sizes, stem=stem, head=head),
        lambda state: _resnet_sizes(state, head=head),
    )


def frozen_kernels() -> StateDict:
    """The two fixed kernels that make the NPR residual in the released network: top-left pixel, and nearest x 2.

    They are never trained; here the residual is arithmetic and needs no kernels (see `Lfm` for what this means for the count).
    """
    down, up = np.zeros((2, 3, 3, 2, 2), np.float32)
    for channel in range(3):
        down[channel, channel, 0, 0] = 1.0
        up[channel, channel] = 1.0
    return {"downsample_conv.weight": down, "upsample_conv.weight": up}


# By `config.model.backbone`.
LAYOUTS = {
    "snet": Layout(
        "LFM",
        "cnn.layer1.0.weight, ..., covn1_1.weight, fc1.weight",
        _fields(Residual(), **{"pooling.kind": "topk"}),
        _snet_rows,
        _snet_sizes,
        frozen_kernels(),
    ),
    "npr": _resnet("NPR", stem=3, head="fc1", residual=Residual(kind="signed", scale=2 / 3)),
    "resnet50": _resnet("ResNet-50", stem=7, head="fc", residual=Residual(kind="none")),
}


def layout_of(model: Lfm) -> Layout | None:
    """The table with a row for every tensor of the network. None where there is none, as for parts of your own."""
    backbone, residual = model.backbone, model.residual
    if type(model.head) is not LinearHead or model.pooling.has_weights:
        return None
    if type(backbone) is SNet:  # its table holds the kernels of one residual, and a projection
        has_kernels = (residual.factor, residual.anchor) == (2, (0, 0))
        return LAYOUTS["snet"] if has_kernels and model.maps else None
    if type(backbone) is ResNet:
        return {3: LAYOUTS["npr"], 7: LAYOUTS["resnet50"]}.get(backbone.stem)
    return None


def sizes_of(model: Lfm) -> Sizes:
    """The sizes of a network that has a layout."""
    return Sizes(tuple(model.backbone.widths), model.maps, model.k)


def backbone_of_keys(keys: Iterable[str]) -> str | None:
    """A name of LAYOUTS for the keys of a bare PyTorch file; None where no known network has such keys."""
    keys = set(keys)
    if any(key.startswith(("cnn.", "covn1_1.", "downsample_conv.")) for key in keys) and "conv1.weight" not in keys:
        return "snet"
    if any(re.match(r"(conv1|bn1|layer1\.0\.)", key) for key in keys):
        return "npr" if "fc1.weight" in keys else "resnet50"
    return None
