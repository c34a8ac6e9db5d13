"""The recipe of `wild` with everything on one GPU: images, aligned fakes, crops, degradation and steps.

    launch/lent_gpu.sh 8 DIR --config.data.root=CORPUS --config.data.aligned.root=ALIGNED
    lfm train --config=wild_gpu --config.data.root=CORPUS --config.data.aligned.root=ALIGNED --workdir=DIR

Batches are eight times those of `wild`, and the learning rate grows by the square root of that. WebP is left out, as only the
host makes it. Activations are bfloat16. The host still draws, in worker processes: give it as many as it has cores. A checkpoint is
saved every minute. This project has not run it on a GPU yet, so there is no score and no step time to give.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import wild


def get_config() -> ConfigDict:
    config = wild.get_config()
    config.steps, config.batch_size, config.optim.lr_scaling = 8000, 256, "sqrt"
    config.model.compute_dtype = "bfloat16"
    config.data.resident, config.data.augment_on = True, "device"
    config.data.augment.webp.p = config.data.aligned.augment.webp.p = 0.0
    config.data.cache_mib, config.data.workers, config.data.threads = 0, 8, 8
    config.checkpoint.every_minutes, config.checkpoint.keep = 1.0, 1
    config.eval.every_steps = config.checkpoint.every_steps = 2000
    config.log_every_steps = 100
    return config
