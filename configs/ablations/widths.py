"""How wide the network is, and how many maps it has.

    lfm sweep --config=ablations/widths --out=runs/widths

18 runs. On real data make the published widths the base. For other data and networks see configs/ablations/small.py.
"""

from lfm_jax.configs.ablations.small import get_config as get_config
from lfm_jax.training.sweep import Sweep


def get_sweep() -> Sweep:
    widths = {"base": (16, 32, 32, 64), "half": (8, 16, 16, 32), "double": (32, 64, 64, 128), "three-blocks": (16, 32, 64)}
    maps = {f"maps{maps}": {"model.maps": maps} for maps in (4, 64)}
    return Sweep({name: {"model.widths": channels} for name, channels in widths.items()} | maps)
