"""How the released checkpoint seems to have been trained: as configs/release.py, in evaluation mode from step 7454.

    lfm train --config=configs/released_weights.py --config.data.root=ROOT --workdir=DIR

The checkpoint's batch counters stand at 7454, far below the length of the run, so BatchNorm (and with it
rank dropout) ran in evaluation mode after that. An inference from the file, not a published fact.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import release


def get_config() -> ConfigDict:
    config = release.get_config()
    config.freeze_bn_after_steps = 7454
    return config
