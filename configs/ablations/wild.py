"""The parts of the `wild` preset one at a time, with a network of a quarter of the weights.

    lfm sweep --config=ablations/wild --out=runs/parts --config.data.root=CORPUS --config.data.aligned.root=ALIGNED \\
        --config.data.hold_out=GROUP,GROUP

8 variants of 3 seeds, 2,000 steps each. Groups that are held out join the validation split, which is too small to judge by
in most corpora; what they tell is how well a generator is seen that the network was not shown. docs/aligned.md says what
CORPUS and ALIGNED are.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import wild
from lfm_jax.training.sweep import Sweep


def get_config() -> ConfigDict:
    config = wild.get_config()
    config.steps = 2000
    config.model.widths, config.model.maps = (32, 64, 128, 256), 32
    config.optim.lr = 1e-3
    return config


def get_sweep() -> Sweep:
    degradations = ("first_jpeg", "scale", "jpeg", "webp")
    return Sweep(
        {
            "wild": {},
            "without-pairs": {"data.aligned.share": 0.0},
            "more-pairs": {"data.aligned.share": 0.5},
            "never-degraded": {f"data.augment.{name}.p": 0.0 for name in degradations},
            "always-degraded": {"data.augment.untouched": 0.0},
            "unbalanced": {"data.balance": "none"},
            "plain": {"model.rank_dropout.p_max": 0.0, "model.random_k.aux_weight": 0.0},
            "wide": {"model.widths": (64, 128, 256, 512), "model.maps": 64},
        }
    )
