"""How the released checkpoint was probably trained: as in the `release` preset, with BatchNorm frozen from step 7454.

    lfm train --config=released_weights --config.data.root=ROOT --workdir=DIR

The checkpoint's batch counters stand at 7454, far below the length of the run, so BatchNorm, and with it rank dropout, must
have been in evaluation mode from then on. This is inferred from the file and not published. The data are those of the
`paper` preset. This project has not run it to the end yet, so there is no score to give.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import release


def get_config() -> ConfigDict:
    config = release.get_config()
    config.freeze_bn_after_steps = 7454
    return config
