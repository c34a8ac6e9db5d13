"""A recipe for images that were scaled and saved again as JPEG or WebP before they are scored; see docs/robust.md.

    lfm train --config=robust --config.data.root=ROOT --workdir=DIR                                   # from scratch
    lfm train --config=robust --config.data.root=ROOT --workdir=DIR \\
        --config.init_from=lfm --config.optim.lr=5e-4                                    # from the released weights
    lfm train --config=robust --config.data.source=synthetic --workdir=DIR                            # on built-in images

ROOT holds {train,val,test}/GROUP/{0_real,1_fake}/. Both classes go through the same random scaling, JPEG and WebP, except
for one image in six, as 128 px crops at the images' own resolution. Images are scored as tiles of the same side, because
the 16 strongest of 196 positions are not comparable with the 16 strongest of 900.

Two CPU cores, 260 training images, 16 minutes. Mean test AP over three groups, with intervals in docs/robust.md:

                                     as they are   JPEG of the fakes   JPEG of all   half size
    this recipe                             88.8                77.1          76.4        63.1
    training without augmentation           90.0                64.3          69.6        73.5
    released weights                        58.2                35.9          46.9        52.9
"""

from ml_collections import ConfigDict

from lfm_jax.config import base
from lfm_jax.data import augmentations


def get_config() -> ConfigDict:
    config = base()
    config.steps = 600
    config.data.resize, config.data.crop = 0, 128
    config.data.augment = augmentations.equalised()
    config.data.cache_mib = 1024
    config.optim.name, config.optim.weight_decay = "adamw", 0.01
    config.optim.lr, config.optim.schedule, config.optim.warmup_steps = 1e-3, "cosine", 20
    config.average_decay = 0.98
    config.eval.protocol = config.eval.predict_protocol = "tiles128"
    config.eval.every_steps = config.checkpoint.every_steps = 50
    config.log_every_steps = 10
    return config
