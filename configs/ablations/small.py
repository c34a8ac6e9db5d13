"""What the ablations here share: configs/tiny.py's network and drawn images, with fewer steps. Not a sweep itself.

Other data for any of them: --config.data.source=folder --config.data.root=ROOT, and as it suits the images
--config.data.crop, --config.eval.protocol, --config.steps, --config.model.widths=64,128,256,512 --config.model.maps=64.
"""

from ml_collections import ConfigDict

from lfm_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.steps = 800
    config.batch_size = 16
    config.model.widths, config.model.maps = (16, 32, 32, 64), 16
    config.data.source = "synthetic"
    config.data.resize, config.data.crop = 0, 80
    config.data.synthetic.side = 96
    config.optim.lr, config.optim.schedule, config.optim.warmup_steps = 5e-3, "cosine", 50
    config.eval.protocol = "native"
    config.eval.every_steps = config.checkpoint.every_steps = 200
    return config
