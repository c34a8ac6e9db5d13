"""LFM as the paper describes it, on eight GPUs of one machine, or on any number of devices that divides 256.

    lfm train --config=gpu8 --config.data.root=ROOT --workdir=DIR                  # one process for all GPUs
    sbatch --ntasks=8 --gpus-per-task=1 launch/slurm.sh --config=gpu8 ...          # or one process per GPU

The batch is eight times that of the `paper` preset, so the learning rate grows by the square root of eight, as is usual for
Adam, after a warm-up. Activations are bfloat16. This project has not run it to the end yet, so there is no score to give.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import paper


def get_config() -> ConfigDict:
    config = paper.get_config()
    config.batch_size = 256
    config.model.compute_dtype = "bfloat16"
    config.optim.lr_scaling, config.optim.warmup_steps = "sqrt", 500
    config.eval.every_steps = config.checkpoint.every_steps = 563  # an epoch
    config.checkpoint.every_minutes = 10.0
    return config
