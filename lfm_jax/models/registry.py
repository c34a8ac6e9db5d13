"""The parts that a config chooses by name, and `build`, which makes a network of them.

    @POOLINGS.register("mine")
    def mine(config):
        return Pooling(my_pool, k=config.pooling.k)

Every factory takes the model config (`lfm_jax.config.base().model`). A backbone factory returns a Flax module with
`map_side`, `stride`, `window` and `before` as in `SNet`, a pooling factory a `Pooling`, and a head factory a Flax module with
`linear`. docs/extending.md has complete examples.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lfm_jax.errors import ConfigError
from lfm_jax.models.heads import LinearHead, MlpHead
from lfm_jax.models.lfm import Lfm
from lfm_jax.models.pooling import AttentionPool, Pooling
from lfm_jax.models.resnet import BLOCKS, ResNet
from lfm_jax.models.snet import SNet
from lfm_jax.ops.npr import Residual
from lfm_jax.ops.pooling import RandomK, RankDropout, top_k_pool
from lfm_jax.ops.pooling_variants import mean_pool
from lfm_jax.runtime.registry import Registry

BACKBONES: Registry[Callable[[ConfigDict], nn.Module]] = Registry("backbone", "config.model.backbone")
POOLINGS: Registry[Callable[[ConfigDict], Pooling]] = Registry("pooling", "config.model.pooling.kind")
HEADS: Registry[Callable[[ConfigDict], nn.Module]] = Registry("head", "config.model.head.kind")

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@BACKBONES.register("snet")
def _snet(config: ConfigDict) -> SNet:
    return SNet(tuple(config.widths), compute_dtype(config), config.remat)


@BACKBONES.register("npr")
def _npr(config: ConfigDict) -> ResNet:
    return _resnet(config, stem=3)


@BACKBONES.register("resnet50")
def _resnet50(config: ConfigDict) -> ResNet:
    return _resnet(config, stem=7)


def _resnet(config: ConfigDict, *, stem: int) -> ResNet:
    if len(config.widths) > len(BLOCKS):
        raise ConfigError(f"config.model.widths = {config.widths}: backbone {config.backbone} has at most {len(BLOCKS)} stages")
    return ResNet(tuple(config.widths), compute_dtype(config), config.remat, stem)


@POOLINGS.register("topk")
def _topk(config: ConfigDict) -> Pooling:
    return Pooling(top_k_pool, k=config.pooling.k, share=config.pooling.k_share)


@POOLINGS.register("max")
def _max(config: ConfigDict) -> Pooling:
    return Pooling(top_k_pool, k=1)


@POOLINGS.register("mean")
def _mean(config: ConfigDict) -> Pooling:
    return Pooling(mean_pool, k=1)


@POOLINGS.register("attention")
def _attention(config: ConfigDict) -> Pooling:
    return Pooling(AttentionPool(), k=1, sums_positions=False)


@POOLINGS.register("random")
def _random(config: ConfigDict) -> Pooling:
    """Draws positions in training. In evaluation it pools all of them in K groups, which is the mean of the draws."""
    return Pooling(top_k_pool, k=config.pooling.k, share=1.0, draw=RandomK(share=config.pooling.k_share))


@HEADS.register("linear")
def _linear(config: ConfigDict) -> LinearHead:
    return LinearHead()


@HEADS.register("mlp")
def _mlp(config: ConfigDict) -> MlpHead:
    return MlpHead(config.head.hidden)


def build(config: ConfigDict) -> Lfm:
    """The network that a model config describes (`lfm_jax.config.base().model`).

    Raises:
      ConfigError: no part has that name, or a value makes no sense; the message names the field.
    """
    dtype = compute_dtype(config)
    if not config.widths or min(config.widths) < 1:
        raise ConfigError(f"config.model.widths = {tuple(config.widths)}: expected at least one width, each at least 1")
    pooling = _pooling(config)
    residual, rank, random_k = config.residual.to_dict(), config.rank_dropout.to_dict(), config.random_k
    # A pooling that draws needs no auxiliary branch, which would be the same once more.
    has_branch = random_k.aux_weight and pooling.draw is None
    return Lfm(
        backbone=_declaring(BACKBONES.choose(config.backbone)(config), "backbone", ("map_side", "stride", "window", "before")),
        pooling=pooling,
        head=_declaring(HEADS.choose(config.head.kind)(config), "head.kind", ("linear",)),
        maps=config.maps,
        mean=tuple(config.mean),
        std=tuple(config.std),
        residual=_options("residual", Residual, **residual | {"anchor": tuple(residual["anchor"])}),
        rank_dropout=_options("rank_dropout", RankDropout, **rank) if rank["p_max"] else None,
        random_k=_options("random_k", RandomK, order=random_k.order, share=config.pooling.k_share) if has_branch else None,
        dtype=dtype,
        kernels=config.kernels,
    )


def compute_dtype(config: ConfigDict) -> Any:
    """The dtype of activations that a model config names."""
    if config.compute_dtype not in DTYPES:
        raise ConfigError(f"config.model.compute_dtype = {config.compute_dtype!r}: expected one of {', '.join(DTYPES)}")
    return DTYPES[config.compute_dtype]


def _pooling(config: ConfigDict) -> Pooling:
    kind, k, k_share = config.pooling.kind, config.pooling.k, config.pooling.k_share
    factory = POOLINGS.choose(kind)
    if k < 1:
        raise ConfigError(f"config.model.pooling.k = {k}: expected at least 1")
    if not 0 <= k_share <= 1:
        raise ConfigError(f"config.model.pooling.k_share = {k_share}: expected a share in 0..1, 0 for exactly k")
    pooling = factory(config)
    if not isinstance(pooling, Pooling):
        raise ConfigError(f"config.model.pooling.kind = {kind!r}: its factory returned {pooling!r}, not a Pooling")
    if k_share and not pooling.share:
        raise ConfigError(f"config.model.pooling.k_share = {k_share}: expected 0 for kind {kind!r}, which does not pool a share")
    return pooling


def _declaring(part: nn.Module, field: str, attributes: tuple[str, ...]) -> nn.Module:
    missing = [name for name in attributes if not hasattr(part, name)]
    if missing:
        raise ConfigError(f"config.model.{field}: {type(part).__name__} has no {', '.join(missing)} (docs/extending.md)")
    return part


def _options(section: str, options: Callable[..., Any], **values: Any) -> Any:
    """Options that check their own values; the message then names the config field."""
    try:
        return options(**values)
    except ValueError as error:
        raise ConfigError(f"config.model.{section}.{error}") from None


def init(model: Lfm, key: jax.Array) -> dict[str, Any]:
    """Fresh variables {"params", "batch_stats"}, initialised as PyTorch would.

    Raises:
      ConfigError: a part of your own has variables of another kind, or a backbone whose `map_side` is not that of its maps.
    """
    side = next(n for n in range(8, 4096, 8) if model.positions(n, n) >= model.fewest)  # large enough; no weight depends on it
    output, variables = model.init_with_output(key, jnp.zeros((1, side, side, 3), jnp.uint8))
    name, claimed, actual = type(model.backbone).__name__, (model.map_side(side),) * 2, output.maps.shape[1:3]
    if claimed != actual:
        raise ConfigError(f"{name}.map_side: {side} px give a map of {claimed[0]} positions, but it is {actual[0]} x {actual[1]}")
    if others := set(variables) - {"params", "batch_stats"}:
        raise ConfigError(f"variables in {', '.join(sorted(others))}: only params and batch_stats are trained and saved")
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def abstract_variables(model: Lfm) -> Any:
    """The tree of `init` as shapes and dtypes, without computing anything."""
    return jax.eval_shape(lambda: init(model, jax.random.key(0)))


def random_variables(model: Lfm, seed: int = 0) -> dict[str, Any]:
    """Variables of `model` as numpy arrays, a pure function of `seed`.

    Kernels are normal with variance 1 / fan-in. Vectors are neutral: 1 for scales and variances, 0 for biases and means.
    """
    rng = np.random.default_rng(seed)

    def values(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)
        return (rng.normal(size=leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1]))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(values, abstract_variables(model))
