"""The card as programs carry it: for readers who have neither this package nor the weights."""

import json

from lfm_jax.detector import Detector


def card_json(detector: Detector) -> str:
    """The detector's card with `network`: px of the smallest square image, of a map position's window, and to the next one."""
    model = detector.model
    network = {"smallest_side": model.smallest_side, "window": model.backbone.window, "stride": model.backbone.stride}
    return json.dumps({**json.loads(detector.card.to_json()), "network": network}, indent=1)
