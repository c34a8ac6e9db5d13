"""LFM as the paper describes it, on the eight GPUs of one machine, or any number of devices that divides 256.

    lfm train --config=configs/gpu8.py --config.data.root=ROOT --workdir=DIR                  # one process, all its GPUs
    sbatch --ntasks=8 --gpus-per-task=1 launch/slurm.sh --config=configs/gpu8.py ...          # or one process a GPU

Eight times the batch of configs/paper.py: the learning rate grows by the square root, as is usual for Adam, after a
warm-up. bfloat16 activations. Not yet run to its end by this project, so no score stands here.
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
