"""The card as exported programs carry it, for readers who have neither this package nor the weights."""

import dataclasses
import json

from lfm_jax.inference.network import Network


def card_json(network: Network) -> str:
    """The network's card with its operating ranges, also where they come from this package, and one more entry, `network`.

    The latter is the geometry that a reader cannot derive without the weights.

    All in px: `smallest_side` of a square image, and `window`, `stride` and `before` of the map positions. The window of
    position (row, column) begins at stride * (row, column) - before.
    """
    model = network.model
    windows = {name: getattr(model.backbone, name) for name in ("window", "stride", "before")}
    geometry = {"smallest_side": model.smallest_side, **windows}
    ranges = {name: one.to_values() for name, one in network.card.ranges.items()}
    card = dataclasses.replace(network.card, operating_range=ranges)
    return json.dumps({**json.loads(card.to_json()), "network": geometry}, indent=1)
