"""What the released code does in training: a constant rank dropout of 0.1, no random-k, and drops after epochs 11, 21, ...

    lfm train --config=release --config.data.root=ROOT --workdir=DIR

The data are those of the `paper` preset. This project has not run it to the end yet, so there is no score to give.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import paper


def get_config() -> ConfigDict:
    config = paper.get_config()
    config.model.rank_dropout.p_min = config.model.rank_dropout.p_max = 0.1  # release: linspace(p_min, p_min)
    config.model.random_k.aux_weight = 0.0
    config.optim.staircase.offset_epochs = 1.0  # release: the loop fires after epochs 11, 21, ...
    return config
