"""LFM as the paper describes it, on a TPU v5e slice of up to 256 chips (v5e:4x4 is 16, v5e:16x16 is 256).

    LFM_DIR=lfm_jax launch/tpu_pod.sh NAME ZONE --config=configs/tpu_v5e.py --config.data.root=ROOT --workdir=SHARED_DIR
    lfm compile --config=configs/tpu_v5e.py --topology=v5e:16x16                # what it takes of a chip, without one

Four images a chip on 256 chips. As in configs/gpu8.py the learning rate grows by the square root of the batch. Compiled
for v5e:4x4 and v5e:16x16 (launch/README.md), not yet run, so no score stands here.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import gpu8


def get_config() -> ConfigDict:
    config = gpu8.get_config()
    config.batch_size = 1024
    config.optim.warmup_steps = 200
    config.eval.every_steps = config.checkpoint.every_steps = 141  # an epoch
    return config
