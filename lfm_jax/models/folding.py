"""The trained network as it is fastest to evaluate: BatchNorm folded into the convolutions, pooling before bias and ReLU.

In: a network and its variables, once; then images. Out: their logits, those of `model.apply` up to rounding.
On CPU images pass one by one (or as many small ones as make one of 256 x 256), so that the activations stay in
the cache, and wide blocks take the products that minimal filtering saves (`ops.tiles`). The choice is made when
a program is lowered.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lfm_jax.models.layers import BatchNorm
from lfm_jax.models.lfm import Lfm
from lfm_jax.models.snet import SNet
from lfm_jax.ops.conv import conv1x1, conv2x2, max_pool2x2
from lfm_jax.ops.npr import normalize, npr_residual
from lfm_jax.ops.tiles import conv2x2_windows, tile_kernel

PIXELS_AT_ONCE = 256 * 256  # on CPU; the activations of so many are about as large as a last-level cache
WIDE = 128  # input channels from which the products of minimal filtering outweigh its sums


def fold(model: Lfm, variables: Any) -> dict[str, Any]:
    """Variables -> what `forward` takes, on the host. Folded in float64: each weight is rounded once.

    A network with another backbone, or without a projection, keeps its variables and is evaluated as it is.
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
    factor = norm["scale"] / np.sqrt(norm["var"] + BatchNorm.epsilon)
    kernel, bias = wide["kernel"] * factor, (wide["bias"] - norm["mean"]) * factor + norm["bias"]
    folded = {"kernel": kernel, "bias": bias}
    if kernel.shape[2] >= WIDE:
        folded["tiles"] = tile_kernel(kernel)
    return {name: array.astype(np.float32) for name, array in folded.items()}


def forward(model: Lfm, folded: Any, images: jax.Array, sizes: jax.Array, *, blocks: int | None = None) -> jax.Array:
    """images uint8 [B, H, W, 3], their true sizes [B, 2] (height, width) -> logits float32 [B]; see `Lfm.__call__`.

    With `blocks` the network ends behind so many of its blocks, the projection belonging to the last one, and each
    image gives the mean of what is there: to time the parts of a folded network.
    """
    if "variables" in folded:
        output: Any = model.apply(folded["variables"], images, sizes=sizes)
        return output.logits
    some_at_once, all_at_once = (functools.partial(function, model, blocks) for function in (_in_turns, _plain))
    return lax.platform_dependent(folded, images, sizes, cpu=some_at_once, default=all_at_once)


def portable(model: Lfm, folded: Any, images: jax.Array) -> jax.Array:
    """As `forward` for images without padding, by one program for every platform, which can be traced for sizes not yet known."""
    if "variables" in folded:
        output: Any = model.apply(folded["variables"], images)
        return output.logits
    return _logits(model, None, folded, images, None, filtered=False)


def _in_turns(model: Lfm, blocks: int | None, folded: Any, images: jax.Array, sizes: jax.Array) -> jax.Array:
    """Always in parts of as many images, the last one filled up: the sums of a part depend, in their last bit, on its size."""
    batch, height, width = images.shape[:3]
    count = 1 << max(PIXELS_AT_ONCE // (height * width), 1).bit_length() - 1
    filled = (jnp.pad(array, [(0, -batch % count)] + [(0, 0)] * (array.ndim - 1), mode="edge") for array in (images, sizes))
    parts = [array.reshape(-1, count, *array.shape[1:]) for array in filled]
    part = functools.partial(_logits, model, blocks, folded, filtered=model.dtype == jnp.float32)
    return lax.map(lambda both: part(*both), parts).reshape(-1)[:batch]


def _plain(model: Lfm, blocks: int | None, folded: Any, images: jax.Array, sizes: jax.Array) -> jax.Array:
    return _logits(model, blocks, folded, images, sizes, filtered=False)


def _logits(model: Lfm, blocks: int | None, folded: Any, images: jax.Array, sizes: jax.Array | None, *, filtered: bool) -> Any:
    x = npr_residual(normalize(images, model.mean, model.std), **model.residual).astype(model.dtype)
    *pooled, last = folded["blocks"]
    for block in pooled[:blocks]:
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
    """x [B, H, W, C] -> [B, (H - 1) // 2, (W - 1) // 2, O]. A maximum may be taken before a bias and ReLU."""
    if filtered and "tiles" in block:
        height, width = ((side - 1) // 2 * 2 + 1 for side in x.shape[1:3])
        pooled = functools.reduce(jnp.maximum, conv2x2_windows(x[:, :height, :width], block["tiles"]))
    else:
        pooled = max_pool2x2(conv2x2(x, block["kernel"].astype(x.dtype)))
    return jax.nn.relu(pooled + block["bias"].astype(x.dtype))


def _maps(x: jax.Array, block: dict[str, jax.Array], project: jax.Array, *, filtered: bool) -> jax.Array:
    """x [B, H, W, C] -> maps float32 [B, H - 1, W - 1, M] of the last block, which is not pooled, and the projection."""

    def finish(x: jax.Array) -> jax.Array:
        return conv1x1(jax.nn.relu(x + block["bias"].astype(x.dtype)), project.astype(x.dtype))

    if not (filtered and "tiles" in block):
        return finish(conv2x2(x, block["kernel"].astype(x.dtype)))
    a, b, c, d = map(finish, conv2x2_windows(x, block["tiles"]))  # windows come together in the maps, the smaller array
    windows = jnp.stack([jnp.stack([a, b], 3), jnp.stack([c, d], 3)], 2)
    batch, height, width = x.shape[:3]
    return windows.reshape(batch, height // 2 * 2, width // 2 * 2, -1)[:, : height - 1, : width - 1]
