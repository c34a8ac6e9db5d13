"""How the maps are pooled: the 16 largest of each, and what could be pooled instead.

    lfm sweep --config=configs/ablations/pooling.py --out=runs/pooling

Other data and networks: configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep


def get_sweep() -> Sweep:
    return Sweep({kind: {"model.pooling.kind": kind} for kind in ("topk", "mean", "max", "attention", "random")})
