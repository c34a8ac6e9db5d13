"""Rank dropout off, constant, and linear in either direction; random-k off and on, its weight, and the order of its ranks.

    lfm sweep --config=ablations/regularisers --out=runs/regularisers

24 runs. For other data and networks see configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep

NO_DROPOUT, NO_RANDOM_K = {"model.rank_dropout.p_max": 0.0}, {"model.random_k.aux_weight": 0.0}


def get_sweep() -> Sweep:
    return Sweep(
        {
            "none": NO_DROPOUT | NO_RANDOM_K,
            "constant": {"model.rank_dropout.p_min": 0.2, "model.rank_dropout.p_max": 0.2} | NO_RANDOM_K,
            "linear-largest": NO_RANDOM_K,
            "linear-smallest": {"model.rank_dropout.drop_most": "smallest"} | NO_RANDOM_K,
            "random-k": NO_DROPOUT,
            "random-k-0.1": {"model.random_k.aux_weight": 0.1} | NO_DROPOUT,
            "random-k-ascending": {"model.random_k.order": "ascending"} | NO_DROPOUT,
            "both": {},
        }
    )
