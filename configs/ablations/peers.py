"""Other networks under the recipe of `wild`, each from random weights and for equally many steps.

    lfm sweep --config=ablations/peers --out=runs/peers --config.data.root=CORPUS --config.data.aligned.root=ALIGNED \\
        --config.data.hold_out=GROUP,GROUP --config.data.test_root=HELD_OUT

Which network learns more from the same images in the same number of steps. What is tested on is as for `ablations/wild`; what
came of it is in docs/notes/wild.md.
"""

from ml_collections import ConfigDict

from lfm_jax.config import flatten
from lfm_jax.configs import npr, resnet50
from lfm_jax.configs.ablations import wild
from lfm_jax.training.sweep import Sweep


def get_config() -> ConfigDict:
    config = wild.get_config()
    config.steps = 2000
    config.init_from, config.init_temperature = "", 1.0
    config.optim.warmup_steps = 200
    config.average_decay = 0.998
    config.eval.every_steps = config.checkpoint.every_steps = 500
    return config


def get_sweep() -> Sweep:
    ours, *others = (preset.get_config().model.to_dict() for preset in (wild, npr, resnet50))
    base = flatten({"model": ours})
    changes = [{name: value for name, value in flatten({"model": model}).items() if value != base[name]} for model in others]
    return Sweep({"lfm": {}, "npr": changes[0], "resnet50": changes[1]})
