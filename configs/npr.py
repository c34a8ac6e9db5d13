"""NPR (CVPR 2024, arXiv 2312.10461), the baseline: signed residual x 2/3, two stages of ResNet-50, mean over positions.

    lfm train --config=npr --config.data.root=ROOT --workdir=DIR

1.44 M parameters. The data are those of the `paper` preset. Batches of 32 and Adam with learning rate 2e-4 over 50 epochs
follow NPR's README, the schedule its code. This project has not run it to the end yet, so there is no score to give.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import paper


def get_config() -> ConfigDict:
    config = paper.get_config()
    config.model.backbone, config.model.widths, config.model.maps = "npr", (64, 128), 0
    config.model.residual.kind, config.model.residual.scale = "signed", 2 / 3
    config.model.pooling.kind, config.model.pooling.k = "mean", 1
    config.model.rank_dropout.p_max = config.model.rank_dropout.p_min = config.model.random_k.aux_weight = 0.0
    config.optim.lr = 2e-4
    config.optim.staircase.offset_epochs = 1.0  # its loop fires after epochs 11, 21, ...
    return config
