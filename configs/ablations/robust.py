"""The parts of the `robust` preset one at a time, on a small network and built-in images: what each adds for re-encoded files.

    lfm sweep --config=ablations/robust --out=runs/parts
    lfm evaluate --weights=runs/parts/runs/equalised-seed0 --data=builtin --protocol=tiles64 \\
        --views=native,fakes_q96,all_q96,all_q75,all_scale0.5 --out=DIR              # the sweep's own table has native alone

27 runs. Results are in docs/robust.md. For other data and networks see configs/ablations/small.py.
"""

from ml_collections import ConfigDict

from lfm_jax.configs.ablations import small
from lfm_jax.data import augmentations
from lfm_jax.training.sweep import Sweep


def get_config() -> ConfigDict:
    config = small.get_config()
    config.steps = 1000
    config.data.augment = augmentations.equalised()
    config.data.synthetic.side = 128
    config.data.crop = 64  # a quarter of an image, as tiles of this side are what is scored
    config.optim.name, config.optim.weight_decay = "adamw", 0.01
    config.eval.protocol = config.eval.predict_protocol = "tiles64"
    return config


def get_sweep() -> Sweep:
    untouched = {f"data.augment.{name}.p": 0.0 for name in ("scale", "jpeg", "webp")}
    return Sweep(
        {
            "equalised": {},
            "untouched": untouched,
            "average": {"average_decay": 0.98},
            "smoothing": {"label_smoothing": 0.1},
            "consistency": {"consistency": 0.5},
            "staircase": {"optim.schedule": "staircase", "optim.staircase.every_epochs": 1.0},
            "share": {"model.pooling.k_share": 0.44},  # 16 of 36 positions, k again: what a rounding error makes of a run
            "plain": {"model.rank_dropout.p_max": 0.0, "model.random_k.aux_weight": 0.0},
            "blur-noise": {"data.augment.blur.p": 0.2, "data.augment.noise.p": 0.2},
        }
    )
