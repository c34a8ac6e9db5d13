"""How many positions are pooled: 1 to 64, or a share of them.

    lfm sweep --config=configs/ablations/k.py --out=runs/k

An 80 px crop has 64 positions, a 96 px image 100: k = 16 are a quarter of the crop's, and a sixth of the image's.
Other data and networks: configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep


def get_sweep() -> Sweep:
    counts = {f"k{k}": {"model.pooling.k": k} for k in (16, 1, 4, 8, 32, 64)}
    return Sweep(counts | {f"share{share}": {"model.pooling.k_share": share} for share in (0.0625, 0.25, 1.0)})
