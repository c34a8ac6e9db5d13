"""A plain ResNet-50 on RGB, trained like CNNDetection (CVPR 2020) with blur and JPEG on half of the images.

    lfm train --config=resnet50 --config.data.root=ROOT --workdir=DIR --config.init_from=resnet50.pth

23.5 M parameters. ROOT holds {train,val}/CLASS/{0_real,1_fake}/ with all 20 classes of the ForenSynths training split.
`resnet50.pth` stands for torchvision's ImageNet weights, of which all but the last layer is used; leave the field out to
start from scratch. CNNDetection divides the learning rate by ten whenever validation stops improving; here it falls along
a cosine over ten epochs. This project has not run it to the end yet, so there is no score to give.
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
