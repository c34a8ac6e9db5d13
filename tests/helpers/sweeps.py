"""A sweep of two variants with two seeds, two steps each."""

SWEEP = """
from lfm_jax.config import base
from lfm_jax.training.sweep import Sweep


def get_config():
    config = base()
    config.steps, config.batch_size = 2, 8
    config.model.widths, config.model.maps, config.model.pooling.k = (4, 8, 8, 8), 4, 4
    config.data.source, config.data.resize, config.data.crop = "synthetic", 0, 48
    config.data.synthetic = {"side": 64, "train": 16, "val": 8, "test": 32}
    config.eval.protocol = "native"
    config.eval.every_steps = config.checkpoint.every_steps = 1
    return config


def get_sweep():
    return Sweep({"topk": {}, "mean": {"model.pooling.kind": "mean"}}, seeds=(0, 1))
"""
