"""The parts of the `wild` preset one at a time, each for 600 steps from the authors' weights.

    lfm sweep --config=ablations/wild --out=runs/parts --config.data.root=CORPUS --config.data.aligned.root=ALIGNED \\
        --config.data.hold_out=GROUP,GROUP --config.data.test_root=HELD_OUT

What is learned in the first 600 steps is most of what is learned at all (docs/notes/wild.md, with what came of it). So short
runs of several seeds tell more than a long one. Test on groups that are held out, as that is how recipes are chosen: HELD_OUT
holds their images together, as all/{0_real,1_fake}/, because a group of photographs alone has no AP. docs/aligned.md says what
CORPUS and ALIGNED are.
"""

from ml_collections import ConfigDict

from lfm_jax.configs import wild
from lfm_jax.training.sweep import Sweep


def get_config() -> ConfigDict:
    config = wild.get_config()
    config.steps = 600
    config.init_from, config.init_temperature = "lfm", 80.0
    config.optim.warmup_steps = 60
    config.average_decay = 0.99
    config.eval.every_steps = config.checkpoint.every_steps = 300
    config.eval.test = True
    return config


def get_sweep() -> Sweep:
    degradations = ("first_jpeg", "scale", "jpeg", "webp")
    return Sweep(
        {
            "wild": {},
            "not-cooled": {"init_temperature": 1.0},
            "less-cooled": {"init_temperature": 20.0},
            "low-rate": {"optim.lr": 1e-4},
            "without-pairs": {"data.aligned.share": 0.0},
            "never-degraded": {f"data.augment.{name}.p": 0.0 for name in degradations},
            "plain": {"model.rank_dropout.p_max": 0.0, "model.rank_dropout.p_min": 0.0, "model.random_k.aux_weight": 0.0},
            "by-format": {"data.balance": "format"},
            "always-degraded": {"data.augment.untouched": 0.0},
            "more-pairs": {"data.aligned.share": 0.5},
            "unbalanced": {"data.balance": "none"},
        }
    )
