"""What the ablations here share: configs/tiny.py's network and drawn images, with fewer steps. Not a sweep itself.

Other data for any of them: --config.data.source=folder --config.data.root=ROOT, and as it suits the images
--config.data.crop, --config.eval.protocol, --config.steps, --config.model.widths=64,128,256,512 --config.model.maps=64.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import tiny


def get_config() -> ConfigDict:
    config = tiny.get_config()
    config.steps = 800
    config.eval.every_steps = config.checkpoint.every_steps = 200
    return config
