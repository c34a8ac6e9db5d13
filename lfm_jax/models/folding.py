"""The trained network in its fastest form for evaluation: BatchNorm folded into the convolutions, pooling before bias and ReLU.

`fold` is done once per set of weights; `forward` then gives the logits of `model.apply` up to rounding. On a CPU, images
pass one by one (small ones in groups as large as one image of 256 x 256), so that the activations stay in the cache, and
wide blocks save products by minimal filtering (`ops.tiles`). The choice is made when a program is lowered.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lfm_jax.models.layers import EPSILON
from lfm_jax.models.lfm import Lfm
from lfm_jax.models.snet import SNet
from lfm_jax.ops.conv import conv1x1, conv_pool_relu, conv_relu_conv1x1
from lfm_jax.ops.stem import conv_relu_pool
from lfm_jax.ops.tiles import conv2x2_windows, tile_kernel

PIXELS_AT_ONCE = 256 * 256  # on a CPU; their activations are about as large as a last-level cache
WIDE = 128  # from this many input channels on, minimal filtering saves more in products than it costs in sums


def fold(model: Lfm, variables: Any) -> dict[str, Any]:
    """Variables -> what `forward` takes, on the host. Folding is done in float64, so that each weight is rounded once.

    A network with another backbone than SNet, or without a projection, keeps its variables and is evaluated without folding.
    """
    if type(model) is not Lfm or type(model.backbone) is not SNet or not model.maps:
        return {"variables": variables}
    params, stats = (jax.tree.map(np.asarray, variables[part]) for part in ("params", "batch_stats"))
    names = [f"block{number}" for number in range(1, len(model.backbone.widths) + 1)]
    blocks = [_fold_block(params["backbone"][name], stats["backbone"][name]["norm"]) for name in names]
    return {"blocks": blocks, "project": params["project"]} | {name: params[name] for name in ("head", "pool") if name in params}


def _fold_block(block: dict[str, Any], stats: dict[str, Any]) -> dict[str, np.ndarray]:
    wide = {name: block[name].astype(np.float64) for name in ("kernel", "bias")}
    norm = {name: array.astype(np.float64) for name, array in {**block["norm"], **stats}.items()}
    factor = norm["scale"] / np.sqrt(norm["var"] + EPSILON)
    kernel, bias = wide["kernel"] * factor, (wide["bias"] - norm["mean"]) * factor + norm["bias"]
    folded = {"kernel": kernel, "bias": bias}
    if kernel.shape[2] >= WIDE:
        folded["tiles"] = tile_kernel(kernel)
    return {name: array.astype(np.float32) for name, array in folded.items()}


def forward(model: Lfm, folded: Any, images: jax.Array, sizes: jax.Array, *, blocks: int | None = None) -> jax.Array:
    """images uint8 [B, H, W, 3] and their true sizes [B, 2] (height, width) -> logits float32 [B]; see `Lfm.__call__`.

    With `blocks` the network stops after that many blocks (the projection belongs to the last one) and returns the mean
    of each image's activations: this is how the parts of a folded network are timed.
    """
    if "variables" in folded:
        output: Any = model.apply(folded["variables"], images, sizes=sizes)
        return output.logits
    some_at_once, all_at_once = (functools.partial(function, model, blocks) for function in (_in_turns, _plain))
    return lax.platform_dependent(folded, images, sizes, cpu=some_at_once, default=all_at_once)


def portable(model: Lfm, folded: Any, images: jax.Array) -> jax.Array:
    """`forward` for images without padding, as one program for every platform that can be traced for unknown sizes.

    It has no kernels of our own, which not every machine that is given the program can run.
    """
    model = model.clone(kernels=False)
    if "variables" in folded:
        output: Any = model.apply(folded["variables"], images)
        return output.logits
    return _logits(model, None, folded, images, None, filtered=False)


def _in_turns(model: Lfm, blocks: int | None, folded: Any, images: jax.Array, sizes: jax.Array) -> jax.Array:
    """Splits the batch into equal parts, the last one filled up: the last bit of a part's sums depends on its size."""
    batch, height, width = images.shape[:3]
    count = 1 << max(PIXELS_AT_ONCE // (height * width), 1).bit_length() - 1
    filled = (jnp.pad(array, [(0, -batch % count)] + [(0, 0)] * (array.ndim - 1), mode="edge") for array in (images, sizes))
    parts = [array.reshape(-1, count, *array.shape[1:]) for array in filled]
    part = functools.partial(_logits, model, blocks, folded, filtered=model.dtype == jnp.float32)
    return lax.map(lambda both: part(*both), parts).reshape(-1)[:batch]


def _plain(model: Lfm, blocks: int | None, folded: Any, images: jax.Array, sizes: jax.Array) -> jax.Array:
    return _logits(model, blocks, folded, images, sizes, filtered=False)


def _logits(model: Lfm, blocks: int | None, folded: Any, images: jax.Array, sizes: jax.Array | None, *, filtered: bool) -> Any:
    *pooled, last = folded["blocks"]
    first, *rest = pooled[:blocks] or [None]
    pixels = model.pixels(images)
    x = conv_relu_pool(pixels, first["kernel"], first["bias"]) if first else pixels.residuals()
    for block in rest:
        x = _pooled_block(x, block, filtered=filtered)
    if blocks is not None and blocks <= len(pooled):
        return x.astype(jnp.float32).mean((1, 2, 3))
    maps = _maps(x, last, folded["project"], filtered=filtered)
    if blocks is not None:
        return maps.mean((1, 2, 3))
    mask = None if sizes is None else model.valid_positions(sizes, maps.shape[1:3])
    read_out = {"params": {name: folded[name] for name in ("head", "pool") if name in folded}}
    logits: Any = model.apply(read_out, maps, mask, method="read_out")
    return logits


def _pooled_block(x: jax.Array, block: dict[str, jax.Array], *, filtered: bool) -> jax.Array:
    """x [B, H, W, C] -> [B, (H - 1) // 2, (W - 1) // 2, O]."""
    if not (filtered and "tiles" in block):
        return conv_pool_relu(x, block["kernel"], block["bias"])
    height, width = ((side - 1) // 2 * 2 + 1 for side in x.shape[1:3])
    pooled = functools.reduce(jnp.maximum, conv2x2_windows(x[:, :height, :width], block["tiles"]))
    return jax.nn.relu(pooled + block["bias"].astype(x.dtype))


def _maps(x: jax.Array, block: dict[str, jax.Array], project: jax.Array, *, filtered: bool) -> jax.Array:
    """x [B, H, W, C] -> maps float32 [B, H - 1, W - 1, M], by the last block, which is not pooled, and the projection."""

    def finish(x: jax.Array) -> jax.Array:
        return conv1x1(jax.nn.relu(x + block["bias"].astype(x.dtype)), project.astype(x.dtype))

    if not (filtered and "tiles" in block):
        return conv_relu_conv1x1(x, block["kernel"], block["bias"], project)
    a, b, c, d = map(finish, conv2x2_windows(x, block["tiles"]))  # windows are joined in the maps, the smaller array
    windows = jnp.stack([jnp.stack([a, b], 3), jnp.stack([c, d], 3)], 2)
    batch, height, width = x.shape[:3]
    return windows.reshape(batch, height // 2 * 2, width // 2 * 2, -1)[:, : height - 1, : width - 1]
