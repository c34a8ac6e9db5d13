"""What the released code does when it is trained: constant rank dropout 0.1, no random-k, steps after epoch 11.

    lfm train --config=configs/release.py --config.data.root=ROOT --workdir=DIR

Data as for configs/paper.py. Not yet run to its end by this project, so no score stands here.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import paper


def get_config() -> ConfigDict:
    config = paper.get_config()
    config.model.rank_dropout.p_min = config.model.rank_dropout.p_max = 0.1  # release: linspace(p_min, p_min)
    config.model.random_k.aux_weight = 0.0
    config.optim.staircase.offset_epochs = 1.0  # release: the loop fires after epochs 11, 21, ...
    return config
