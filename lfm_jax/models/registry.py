"""Networks, and the one function that turns a model config into one.

A part of your own is one more entry, `POOLINGS["mine"] = function`, and then `config.model.pooling.kind = "mine"` trains
it. Weights keep the name alone: whoever loads them makes the same entry first.
"""

import functools
from collections.abc import Mapping
from typing import Any, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from ml_collections import ConfigDict

from lfm_jax.errors import ConfigError
from lfm_jax.models.lfm import AttentionPool, Lfm, LinearHead, MlpHead, Pool
from lfm_jax.models.resnet import BLOCKS, ResNet
from lfm_jax.models.snet import SNet
from lfm_jax.ops.npr import ResidualKind
from lfm_jax.ops.pooling import mean_pool, top_k_pool

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
BACKBONES = {"snet": SNet, "npr": functools.partial(ResNet, stem=3), "resnet50": functools.partial(ResNet, stem=7)}
POOLINGS: dict[str, Pool | type[nn.Module]] = {
    "topk": top_k_pool,
    "max": top_k_pool,  # of k = 1
    "mean": mean_pool,
    "attention": AttentionPool,
    "random": top_k_pool,  # of all, in groups, where positions are not drawn
}
OF_ONE = ("max", "mean", "attention")  # poolings with one value a map; the others have `k`
HEADS = {"linear": lambda config: LinearHead(), "mlp": lambda config: MlpHead(config.hidden)}


def build(config: ConfigDict) -> Lfm:
    """Model config (`lfm_jax.config.base().model`) -> network.

    Raises:
      ConfigError: a field has a value that no part answers to; the message names the field.
    """
    dtype = _choose("compute_dtype", config.compute_dtype, DTYPES)
    backbone = _choose("backbone", config.backbone, BACKBONES)
    if config.backbone != "snet" and len(config.widths) > len(BLOCKS):
        raise ConfigError(f"config.model.widths = {config.widths}: backbone {config.backbone} has at most {len(BLOCKS)} stages")
    rank, random_k, pooling = config.rank_dropout, config.random_k, config.pooling
    pool = _choose("pooling.kind", pooling.kind, POOLINGS)
    _check_pooling(pooling)
    _check_residual(config.residual)
    draw = pooling.kind == "random"  # its auxiliary branch would be the same once more
    return Lfm(
        backbone=backbone(tuple(config.widths), dtype, config.remat),
        pool=pool() if isinstance(pool, type) else pool,
        head=_choose("head.kind", config.head.kind, HEADS)(config.head),
        maps=config.maps,
        k=1 if pooling.kind in OF_ONE else pooling.k,
        k_share=pooling.k_share,
        draw=draw,
        mean=tuple(config.mean),
        std=tuple(config.std),
        residual=FrozenDict({**config.residual, "anchor": tuple(config.residual.anchor)}),
        rank_dropout=FrozenDict(rank) if rank.p_max else None,
        random_k=FrozenDict(order=random_k.order) if random_k.aux_weight and not draw else None,
        dtype=dtype,
    )


def _check_pooling(pooling: ConfigDict) -> None:
    if pooling.k < 1:
        raise ConfigError(f"config.model.pooling.k = {pooling.k}: expected at least 1")
    if not 0 <= pooling.k_share <= 1:
        raise ConfigError(f"config.model.pooling.k_share = {pooling.k_share}: expected a share in 0..1, 0 for exactly k")
    if pooling.k_share and pooling.kind in OF_ONE:
        raise ConfigError(
            f"config.model.pooling.k_share = {pooling.k_share}: 0 for kind {pooling.kind!r}, which gives one value a map"
        )


def _check_residual(residual: ConfigDict) -> None:
    kinds = get_args(ResidualKind)
    if residual.kind not in kinds:
        raise ConfigError(f"config.model.residual.kind = {residual.kind!r}: expected one of {', '.join(kinds)}")
    if residual.factor < 2 or residual.factor % 2:
        raise ConfigError(f"config.model.residual.factor = {residual.factor}: expected an even number, 2 or more")
    if len(residual.anchor) != 2 or not all(0 <= place < residual.factor for place in residual.anchor):
        raise ConfigError(
            f"config.model.residual.anchor = {tuple(residual.anchor)}: expected (row, column) in a block of "
            f"{residual.factor} x {residual.factor} px, each 0 to {residual.factor - 1}"
        )


def _choose(field: str, value: str, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        registry = {"backbone": "BACKBONES", "pooling.kind": "POOLINGS", "head.kind": "HEADS"}.get(field)
        own = f"; one of your own is entered first, lfm_jax.models.{registry}[{value!r}] = ..." if registry else ""
        raise ConfigError(f"config.model.{field} = {value!r}: expected one of {', '.join(choices)}{own}")
    return choices[value]


def init(model: Lfm, key: jax.Array) -> dict[str, Any]:
    """-> {"params", "batch_stats"}, PyTorch-style. The side only has to be large enough; no weight depends on it."""
    side = next(n for n in range(8, 4096, 8) if model.positions(n, n) >= model.fewest)
    return dict(model.init(key, jnp.zeros((1, side, side, 3), jnp.uint8)))


def abstract_variables(model: Lfm) -> Any:
    """The tree of `init` as shapes and dtypes, without computing anything."""
    return jax.eval_shape(lambda: init(model, jax.random.key(0)))
