"""What the network sees: the kind of residual, the side of its blocks, and which pixel of a block is subtracted.

    lfm sweep --config=ablations/residual --out=runs/residual

27 runs. For other data and networks see configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep


def get_sweep() -> Sweep:
    kinds = {
        "abs": {},
        "signed": {"model.residual.kind": "signed"},
        "npr": {"model.residual.kind": "signed", "model.residual.scale": 2 / 3},
        "pixels": {"model.residual.kind": "none"},
    }
    factors = {f"factor{factor}": {"model.residual.factor": factor} for factor in (4, 8)}
    anchors = {f"anchor{row}{column}": {"model.residual.anchor": (row, column)} for row, column in ((0, 1), (1, 0), (1, 1))}
    return Sweep(kinds | factors | anchors)
