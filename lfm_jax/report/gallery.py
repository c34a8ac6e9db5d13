"""The worst mistakes of one cell as pictures: the reals that scored highest and the fakes that scored lowest.

In: predictions of one cell and the Source under its view. Out: dicts with path, score and small WebPs as data URIs, of
the pixels as the detector saw them and, where it can tell, of where its evidence lay.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.data.sources.base import Source
from lfm_jax.inference import evidence, picture
from lfm_jax.inference.network import Network

PER_LABEL = 6
SIDE = 256  # px of the longer side at most
MAX_BYTES = 16_000  # of a picture, which costs a worse quality for noise; a photograph has 6,000
QUALITIES = (80, 60, 40, 20, 1)


def mistakes(predictions: Sequence[Mapping[str, Any]], source: Source, network: Network) -> list[dict[str, Any]]:
    """-> reals called fake, worst first, then fakes called real: label, path, score, logit, image, evidence (or None)."""
    index_of = {example.path: index for index, example in enumerate(source.examples)}
    wrong = [p for p in predictions if network.card.is_fake(p["logit"]) != bool(p["label"])]
    found = []
    for label in (0, 1):
        ranked = sorted((p for p in wrong if p["label"] == label), key=lambda p: p["logit"], reverse=label == 0)
        found += [_picture(p, source.image(index_of[p["path"]]), network) for p in ranked[:PER_LABEL]]
    return found


def _picture(prediction: Mapping[str, Any], image: Image.Image, network: Network) -> dict[str, Any]:
    pieces = protocols.parse(prediction["protocol"])(image)
    pixels = pieces[0] if len(pieces) == 1 else pieces[np.argmax(network.logits(pieces))]  # of tiles the one most fake
    added = evidence.evidence(network, pixels)
    named = {name: prediction[name] for name in ("label", "path", "score", "logit")}
    return {
        **named,
        "image": data_uri(Image.fromarray(pixels)),
        "evidence": None if added is None else _shown(network, pixels, added),
    }


def _shown(network: Network, pixels: np.ndarray, added: np.ndarray) -> dict[str, Any]:
    """The overlay as `image`, the `strongest` of its positions, and the sums `fake` and `real` of what speaks for either."""
    sums = {"fake": float(added[added > 0].sum()), "real": float(-added[added < 0].sum())}
    return {"image": data_uri(picture.overlay(network.model, pixels, added)), "strongest": float(np.abs(added).max()), **sums}


def data_uri(image: Image.Image) -> str:
    """RGB image -> WebP of at most SIDE px and MAX_BYTES bytes as a data URI."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    for quality in QUALITIES:
        file = io.BytesIO()
        small.save(file, "WEBP", quality=quality)
        if file.tell() <= MAX_BYTES:
            break
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
