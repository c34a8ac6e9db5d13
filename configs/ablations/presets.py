"""The regularisers of the paper, of the released code, or none, each under three poolings.

    lfm sweep --config=configs/ablations/presets.py --out=runs/presets

27 runs. Other data and networks: configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep

PRESETS = {
    "paper": {},
    "release": {"model.rank_dropout.p_max": 0.1, "model.random_k.aux_weight": 0.0},  # constant 0.1
    "plain": {"model.rank_dropout.p_max": 0.0, "model.random_k.aux_weight": 0.0},
}


def get_sweep() -> Sweep:
    poolings = ("topk", "mean", "max")
    return Sweep(
        {f"{preset}-{kind}": {**fields, "model.pooling.kind": kind} for preset, fields in PRESETS.items() for kind in poolings}
    )
