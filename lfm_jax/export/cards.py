"""The card as programs carry it: for readers who have neither this package nor the weights."""

import json

from lfm_jax.inference.detector import Detector


def card_json(detector: Detector) -> str:
    """The detector's card with `network`: px of the smallest square image, and of map positions' windows.

    That of position (r, c) begins at stride * (r, c) - before.
    """
    model = detector.model
    windows = {name: getattr(model.backbone, name) for name in ("window", "stride", "before")}
    network = {"smallest_side": model.smallest_side, **windows}
    return json.dumps({**json.loads(detector.card.to_json()), "network": network}, indent=1)
