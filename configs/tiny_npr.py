"""The main job with NPR's parts in place of LFM's, at about as many parameters as configs/tiny.py has: 18,404.

    lfm train --config=configs/tiny_npr.py --workdir=runs/tiny_npr

Not yet run to its end, so no score stands here.
"""

from ml_collections import ConfigDict
from npr import get_config as npr
from tiny import get_config as tiny


def get_config() -> ConfigDict:
    config = tiny()
    config.model = npr().model
    config.model.widths = (7, 14)
    return config
