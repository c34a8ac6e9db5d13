"""The base of the ablations in this folder: the `tiny` preset's network and built-in images, with fewer steps.

It is not a sweep itself. To run any of the ablations on other data, add --config.data.source=folder
--config.data.root=ROOT and, as the images require, --config.data.crop, --config.eval.protocol, --config.steps,
--config.model.widths=64,128,256,512 and --config.model.maps=64.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import tiny


def get_config() -> ConfigDict:
    config = tiny.get_config()
    config.steps = 800
    config.eval.every_steps = config.checkpoint.every_steps = 200
    return config
