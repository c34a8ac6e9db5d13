"""Networks, and the one function that turns a model config into one.

A part of your own is one more entry, `POOLINGS["mine"] = function`, and then `config.model.pooling.kind = "mine"` trains
it. Weights keep the name alone: whoever loads them makes the same entry first.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from ml_collections import ConfigDict

from lfm_jax.errors import ConfigError
from lfm_jax.models import inference
from lfm_jax.models.lfm import Lfm, LinearHead, MlpHead, Output, Pool
from lfm_jax.models.snet import SNet
from lfm_jax.ops.pooling import mean_pool, top_k_pool

__all__ = ["Lfm", "Output", "SNet", "abstract_variables", "build", "inference", "init"]

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
BACKBONES = {"snet": SNet}
POOLINGS: dict[str, Pool] = {"topk": top_k_pool, "mean": mean_pool}
HEADS = {"linear": lambda config: LinearHead(), "mlp": lambda config: MlpHead(config.hidden)}


def build(config: ConfigDict) -> Lfm:
    """Model config (`lfm_jax.config.base().model`) -> network.

    Raises:
      ConfigError: a field has a value that no part answers to; the message names the field.
    """
    dtype = _choose("compute_dtype", config.compute_dtype, DTYPES)
    backbone = _choose("backbone", config.backbone, BACKBONES)
    rank, random_k = config.rank_dropout, config.random_k
    return Lfm(
        backbone=backbone(tuple(config.widths), dtype, config.remat),
        pool=_choose("pooling.kind", config.pooling.kind, POOLINGS),
        head=_choose("head.kind", config.head.kind, HEADS)(config.head),
        maps=config.maps,
        k=config.pooling.k,
        mean=tuple(config.mean),
        std=tuple(config.std),
        residual=FrozenDict(config.residual),
        rank_dropout=FrozenDict(rank) if rank.p_max else None,
        random_k=FrozenDict(order=random_k.order) if random_k.aux_weight else None,
        dtype=dtype,
    )


def _choose(field: str, value: str, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        registry = {"backbone": "BACKBONES", "pooling.kind": "POOLINGS", "head.kind": "HEADS"}.get(field)
        own = f"; one of your own is entered first, lfm_jax.models.{registry}[{value!r}] = ..." if registry else ""
        raise ConfigError(f"config.model.{field} = {value!r}: expected one of {', '.join(choices)}{own}")
    return choices[value]


def init(model: Lfm, key: jax.Array) -> dict[str, Any]:
    """-> {"params", "batch_stats"}, PyTorch-style. The side only has to be large enough; no weight depends on it."""
    side = next(n for n in range(8, 4096, 8) if model.positions(n, n) >= model.k)
    return dict(model.init(key, jnp.zeros((1, side, side, 3), jnp.uint8)))


def abstract_variables(model: Lfm) -> Any:
    """The tree of `init` as shapes and dtypes, without computing anything."""
    return jax.eval_shape(lambda: init(model, jax.random.key(0)))
