"""LFM as the paper describes it, on the ForenSynths training split (ProGAN: car, cat, chair, horse).

    lfm train --config=paper --config.data.root=ROOT --workdir=DIR

ROOT holds {train,val}/{car,cat,chair,horse}/{0_real,1_fake}/, with 144,024 and 1,600 images. Name the folder of test suites
with --config.data.test_root=SUITES. 50 epochs are 225,038 steps of 32. This project has not run it to the end yet, so
there is no score to give.
"""

from ml_collections import ConfigDict

from lfm_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.epochs = 50.0
    config.data.classes = "car,cat,chair,horse"
    config.eval.every_steps = config.checkpoint.every_steps = 4500  # an epoch
    return config
