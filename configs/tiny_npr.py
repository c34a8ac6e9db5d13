"""The main job with NPR's parts in place of LFM's, at about as many parameters: configs/tiny.py, 17,000 of them.

    lfm train --config=configs/tiny_npr.py --workdir=runs/tiny_npr

Figures beside configs/tiny.py's: docs/baselines.md.
"""

from ml_collections import ConfigDict
from npr import get_config as npr
from tiny import get_config as tiny


def get_config() -> ConfigDict:
    config = tiny()
    config.model = npr().model
    config.model.widths = (7, 14)
    return config
