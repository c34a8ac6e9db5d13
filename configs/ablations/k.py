"""How many positions are pooled: 1 to 64, or a share of them.

    lfm sweep --config=ablations/k --out=runs/k

27 runs. An 80 px crop has 64 positions and a 96 px image has 100, so k = 16 is a quarter of a crop's and a sixth of an
image's positions. For other data and networks see configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep


def get_sweep() -> Sweep:
    counts = {f"k{k}": {"model.pooling.k": k} for k in (16, 1, 4, 8, 32, 64)}
    return Sweep(counts | {f"share{share}": {"model.pooling.k_share": share} for share in (0.0625, 0.25, 1.0)})
