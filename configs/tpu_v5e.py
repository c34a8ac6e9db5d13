"""LFM as the paper describes it, on a TPU v5e slice of up to 256 chips (v5e:4x4 has 16, v5e:16x16 has 256).

    LFM_DIR=lfm_jax launch/tpu_pod.sh NAME ZONE --config=tpu_v5e --config.data.root=ROOT --workdir=SHARED_DIR
    lfm compile --config=tpu_v5e --topology=v5e:16x16                # memory and FLOPs per chip, without a TPU

On 256 chips each gets four images. As in the `gpu8` preset the learning rate grows by the square root of the batch. It has
been compiled for v5e:4x4 and v5e:16x16 (launch/README.md) but not run yet, so there is no score to give.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import gpu8


def get_config() -> ConfigDict:
    config = gpu8.get_config()
    config.batch_size = 1024
    config.optim.warmup_steps = 200
    config.eval.every_steps = config.checkpoint.every_steps = 141  # an epoch
    return config
