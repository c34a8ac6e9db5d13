"""Files as users have them, of many generators and cameras, with aligned fakes; see docs/aligned.md.

    lfm data align CORPUS/train ALIGNED --encoder=taef2_encoder.pth --decoder=taef2_decoder.pth
    lfm train --config=wild --config.data.root=CORPUS --config.data.aligned.root=ALIGNED --workdir=DIR \\
        --config.init_from=lfm --config.init_temperature=80 --config.model.compute_dtype=bfloat16

CORPUS holds {train,val,test}/SOURCE/{0_real,1_fake}/. Crops of 128 px at the images' own resolution, balanced by class and
by source; a share of the batch are photographs beside their aligned fakes; both classes are degraded alike. The authors' weights
are cooled before the first step (docs/faq.md#does-fine-tuning-help).

Two CPU cores with bfloat16 units, 15 minutes: validation AP 74.7 on 163 files of 6 sources as they are (the authors' weights 67.8),
PNG alone 92.4 (89.2), all saved again as JPEG 75 61.5 (57.2). The weights that ship took 7,200 steps and are about as good
(docs/model_card_wild.md). Tables, and what failed: docs/notes/wild.md.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import robust
from lfm_jax.data import augmentations


def get_config() -> ConfigDict:
    config = robust.get_config()
    config.steps = 2500
    config.data.balance = "source"
    config.data.augment = augmentations.as_files_are()
    config.data.augment.untouched = 0.3
    config.data.aligned.share = 0.25
    config.data.aligned.augment = augmentations.mild()
    config.data.cache_mib = 2048
    config.data.max_broken_share = 0.02
    config.optim.lr, config.optim.warmup_steps = 5e-4, 200
    config.average_decay = 0.999
    config.eval.protocol = config.eval.predict_protocol = "crop256"
    config.eval.every_steps = config.checkpoint.every_steps = 500
    config.eval.test = False
    config.log_every_steps = 50
    return config
