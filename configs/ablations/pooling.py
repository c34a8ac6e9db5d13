"""How the maps are pooled: the 16 largest values of each, or one of four alternatives.

    lfm sweep --config=ablations/pooling --out=runs/pooling

15 runs. For other data and networks see configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep


def get_sweep() -> Sweep:
    return Sweep({kind: {"model.pooling.kind": kind} for kind in ("topk", "mean", "max", "attention", "random")})
