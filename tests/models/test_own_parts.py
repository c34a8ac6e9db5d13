"""Parts of your own: what their factories declare, and what is said of one that cannot be used."""

import flax.linen as nn
import jax
import pytest

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import ConfigError
from lfm_jax.models import BACKBONES, HEADS, POOLINGS, Pooling
from lfm_jax.models.heads import LinearHead
from lfm_jax.ops.pooling import top_k_pool


@pytest.fixture
def config():
    config = config_lib.model()
    config.widths, config.maps, config.pooling.k = (4, 8), 4, 4
    return config


class Strided(nn.Module):
    """Positions of 4 x 4 px, 4 px apart, with no BatchNorm."""

    width: int = 8

    @nn.compact
    def __call__(self, x, *, train=False, sizes=None):
        return nn.Conv(self.width, (4, 4), strides=4, padding="VALID")(x)

    def map_side(self, side):
        return side // 4

    stride, window, before = 4, 4, 0


class Bare(nn.Module):
    @nn.compact
    def __call__(self, x, **_):
        return x


class Wrong(Strided):
    def map_side(self, side):
        return side // 4 + 1


class Counting(Strided):
    @nn.compact
    def __call__(self, x, *, train=False, sizes=None):
        self.variable("cache", "calls", int)
        return nn.Conv(self.width, (4, 4), strides=4, padding="VALID")(x)


def test_a_pooling_says_how_many_values_a_map_gives(config):
    @POOLINGS.register("two")
    def two(config):
        return Pooling(top_k_pool, k=2)

    config.pooling.kind = "two"
    model = models.build(config)
    assert models.abstract_variables(model)["params"]["head"]["kernel"].shape == (4 * 2, 1)


def test_networks_built_twice_are_equal_so_that_they_share_compiled_programs(config):
    for kind in ("topk", "random", "attention"):
        config.pooling.kind = kind
        assert models.build(config) == models.build(config)
        assert hash(models.build(config)) == hash(models.build(config))


def test_a_pooling_that_does_not_pool_a_share_refuses_k_share(config):
    POOLINGS.register("three")(lambda config: Pooling(top_k_pool, k=3))
    config.pooling.kind, config.pooling.k_share = "three", 0.5
    with pytest.raises(ConfigError, match=r"k_share = 0.5: expected 0 for kind 'three'"):
        models.build(config)


def test_a_pooling_factory_that_returns_a_bare_function_is_told_what_to_return(config):
    POOLINGS.register("bare")(lambda config: top_k_pool)
    config.pooling.kind = "bare"
    with pytest.raises(ConfigError, match=r"pooling.kind = 'bare': its factory returned <function top_k_pool.*, not a Pooling"):
        models.build(config)


def test_a_backbone_without_batch_norm_has_empty_statistics(config):
    BACKBONES.register("strided8")(lambda config: Strided())
    config.backbone = "strided8"
    assert models.abstract_variables(models.build(config))["batch_stats"] == {}


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Bare, r"config.model.backbone: Bare has no map_side, stride, window, before \(docs/extending.md\)"),
        (Wrong, r"Wrong.map_side: 8 px give a map of 3 positions, but it is 2 x 2"),
        (Counting, r"variables in cache: only params and batch_stats"),
    ],
)
def test_a_backbone_that_cannot_be_used_is_told_why(config, backbone, message):
    BACKBONES.register("mine")(lambda config: backbone())
    config.backbone = "mine"
    with pytest.raises(ConfigError, match=message):
        models.init(models.build(config), jax.random.key(0))


def test_a_head_says_whether_it_is_linear(config):
    class Silent(nn.Module):
        @nn.compact
        def __call__(self, values):
            return LinearHead(name="out")(values)

    HEADS.register("silent")(lambda config: Silent())
    config.head.kind = "silent"
    with pytest.raises(ConfigError, match=r"config.model.head.kind: Silent has no linear"):
        models.build(config)


def test_a_name_that_nobody_registered_is_answered_with_those_that_exist_and_how_to_bring_your_own(config):
    config.pooling.kind = "extreme"
    with pytest.raises(ConfigError, match=r"Expected one of topk, .*, or your own from --import=FILE.py"):
        models.build(config)
