"""A part of the user's own: entered under a name, it trains from a config, and its weights load back by that name."""

import dataclasses

import jax.numpy as jnp
import pytest

import lfm_jax
from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.data.sources.open import open_split
from lfm_jax.errors import ConfigError, WeightsError
from lfm_jax.ops.pooling import top_k_pool
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.weights import io as weights_io


def extremes(maps, *, k, mask=None):
    largest, above = top_k_pool(maps, k=k // 2, mask=mask)
    smallest, below = top_k_pool(-maps, k=k // 2, mask=mask)
    return jnp.concatenate([largest, -smallest], -1), jnp.concatenate([above, below], -1)


@pytest.fixture(scope="module")
def config():
    config = config_lib.base()
    config.update_from_flattened_dict(
        {
            "steps": 2,
            "batch_size": 8,
            "model.widths": (4, 8, 8, 8),
            "model.maps": 4,
            "model.pooling.k": 4,
            "model.pooling.kind": "extremes",
            "data.source": "synthetic",
            "data.synthetic": {"side": 64, "train": 16, "val": 8, "test": 16},
            "data.resize": 0,
            "data.crop": 48,
            "eval.protocol": "native",
        }
    )
    return config


def test_a_pooling_of_ones_own_trains_loads_back_by_name_and_is_explained(config, tmp_path, monkeypatch):
    monkeypatch.setitem(models.POOLINGS, "extremes", extremes)
    expected = train_and_evaluate(config, tmp_path / "run")["best"].predictions[5]
    weights_io.convert(tmp_path / "run", tmp_path / "own.safetensors")
    image = open_split(config.data, "test", seed=config.seed).image(5)
    for weights in (tmp_path / "run", tmp_path / "own.safetensors"):
        detector = lfm_jax.load(weights)
        assert detector.model.pool is extremes
        found = detector.explain(image, protocol="native")
        assert found.prediction.logit == pytest.approx(expected["logit"], rel=1e-4, abs=1e-5)
        assert found.bias + sum(each.evidence for each in found.locations) == pytest.approx(found.prediction.logit, abs=1e-4)
    plain = lfm_jax.Detector(dataclasses.replace(detector.model, pool=top_k_pool), detector.variables, detector.card)
    assert plain(image, protocol="native").logit != pytest.approx(expected["logit"], rel=1e-3)
    with pytest.raises(WeightsError, match=r"'extremes', but a \.pth with the names of LFM is read as 'topk'"):
        weights_io.convert(tmp_path / "run", tmp_path / "own.pth")

    monkeypatch.delitem(models.POOLINGS, "extremes")
    for weights in (tmp_path / "run", tmp_path / "own.safetensors"):
        with pytest.raises(
            WeightsError, match=rf"{weights.name}.*pooling.kind = 'extremes'.*lfm_jax\.models\.POOLINGS\['extremes'\] = "
        ):
            lfm_jax.load(weights)


def test_a_config_that_names_a_part_not_entered_is_told_how_to(config):
    with pytest.raises(ConfigError, match=r"expected one of topk, .*POOLINGS\['extremes'\]"):
        models.build(config.model)
