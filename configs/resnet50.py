"""A plain ResNet-50 on RGB, as CNNDetection (CVPR 2020) trains it: blur and JPEG half of the time; 23.5 M parameters.

    lfm train --config=configs/resnet50.py --config.data.root=ROOT --workdir=DIR --config.init_from=resnet50.pth

ROOT holds {train,val}/CLASS/{0_real,1_fake}/, all 20 classes of the ForenSynths training split. `resnet50.pth` are
torchvision's ImageNet weights, of which all but the last layer is taken; without them it starts from scratch. CNNDetection
divides the learning rate by ten where validation stands still; here it falls by a cosine over ten epochs. Not yet run to its end
by this project, so no score stands here.
"""

from ml_collections import ConfigDict

from lfm_jax.config import base
from lfm_jax.data.augmentations import cnndetection


def get_config() -> ConfigDict:
    config = base()
    config.epochs = 10.0
    config.batch_size = 64
    config.model.backbone, config.model.maps = "resnet50", 0
    config.model.residual.kind = "none"
    config.model.pooling.kind, config.model.pooling.k = "mean", 1
    config.model.rank_dropout.p_max = config.model.rank_dropout.p_min = config.model.random_k.aux_weight = 0.0
    config.data.augment = cnndetection()
    config.optim.schedule = "cosine"
    config.eval.protocol = "crop224"
    return config
