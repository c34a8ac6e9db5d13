"""LFM against NPR, part by part: first the trunk is replaced, then the residual, then the pooling by a mean over positions.

    lfm sweep --config=ablations/backbone --out=runs/backbone

12 runs, with trunks of about as many parameters. `npr-all` is the `tiny_npr` preset. Not run yet.
For other data and networks see configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep

TRUNK = {"model.backbone": "npr", "model.widths": (7, 14)}
RESIDUAL = {"model.residual.kind": "signed", "model.residual.scale": 2 / 3}
MEAN = {
    "model.pooling.kind": "mean",
    "model.maps": 0,
    "model.rank_dropout.p_max": 0.0,
    "model.rank_dropout.p_min": 0.0,
    "model.random_k.aux_weight": 0.0,
}


def get_sweep() -> Sweep:
    return Sweep({"lfm": {}, "npr-trunk": TRUNK, "npr-trunk-residual": TRUNK | RESIDUAL, "npr-all": TRUNK | RESIDUAL | MEAN})
