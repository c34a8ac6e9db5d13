"""The regularisers of the paper, of the released code, or none, each with three poolings.

    lfm sweep --config=ablations/presets --out=runs/presets

27 runs of 1.3 to 2.6 minutes, 30 minutes in all on two CPU cores. Test AP is 95.8 to 97.3, and no difference exceeds that
between seeds; the table is in docs/ablations.md. For other data and networks see configs/ablations/small.py.
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
