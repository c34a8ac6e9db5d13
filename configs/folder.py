"""Your own folder of images, small enough for a CPU: ROOT/{train,val,test}/GROUP/{0_real,1_fake}/.

    lfm train --config=folder --config.data.root=ROOT --workdir=DIR
    lfm train --config=folder --config.data.root=ROOT --workdir=DIR2 \\
        --config.init_from=lfm --config.optim.lr=1e-4

Random 128 px crops at the images' own resolution: resizing would wipe out the traces that are looked for.
Figures on 260 training images, with the hardware and the minutes: docs/notes/first_runs.md, "A real run".
"""

from ml_collections import ConfigDict

from lfm_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.steps = 150
    config.data.resize, config.data.crop = 0, 128
    config.optim.lr, config.optim.schedule, config.optim.warmup_steps = 1e-3, "cosine", 20
    config.eval.protocol = "crop256"
    config.eval.every_steps = config.checkpoint.every_steps = 30
    config.log_every_steps = 10
    return config
