"""The worst mistakes of one cell as pictures: the reals that scored highest and the fakes that scored lowest."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.data.provenance import Provenance, provenance_of
from lfm_jax.data.sources.base import Source
from lfm_jax.inference import drawing
from lfm_jax.inference.evidence import evidence_map
from lfm_jax.inference.network import Network

PER_LABEL = 6
SIDE = 256  # px of the longer side at most
MAX_BYTES = 16_000  # of a picture; a photograph takes 6,000, noise is saved at a lower quality
QUALITIES = (80, 60, 40, 20, 1)


def mistakes(predictions: Sequence[Mapping[str, Any]], source: Source, network: Network) -> list[dict[str, Any]]:
    """The reals called fake, worst first, then the fakes called real, at most PER_LABEL each.

    Args:
      predictions: of one cell.
      source: its images, under its view.

    Returns:
      Dicts with label, path, score, logit, `image` (the pixels that were scored, as a data URI) and `evidence` (None if
      these weights have none to show; else `image`, the overlay, `strongest`, and the sums `fake` and `real`) and
      `provenance` (what the file on disk says of its origin, "" if nothing).
    """
    index_of = {example.path: index for index, example in enumerate(source.examples)}
    wrong = [p for p in predictions if network.card.is_fake(p["logit"]) != bool(p["label"])]
    items = []
    for label in (0, 1):
        ranked = sorted((p for p in wrong if p["label"] == label), key=lambda p: p["logit"], reverse=label == 0)
        for prediction in ranked[:PER_LABEL]:
            index = index_of[prediction["path"]]
            items.append({**_item(prediction, source.image(index), network), "provenance": _provenance(source, index)})
    return items


def _provenance(source: Source, index: int) -> str:
    data = source.encoded(index)
    said = provenance_of(data) if data else Provenance()
    return said.line() if said.is_notable else ""


def _item(prediction: Mapping[str, Any], image: Image.Image, network: Network) -> dict[str, Any]:
    pieces = protocols.parse(prediction["protocol"])(image)
    pixels = pieces[0] if len(pieces) == 1 else pieces[np.argmax(network.logits_of_tiles(pieces))]  # the tile that looks most fake
    evidence = evidence_map(network, pixels)
    return {
        **{name: prediction[name] for name in ("label", "path", "score", "logit")},
        "image": data_uri(Image.fromarray(pixels)),
        "evidence": None if evidence is None else _evidence(network, pixels, evidence),
    }


def _evidence(network: Network, pixels: np.ndarray, evidence: np.ndarray) -> dict[str, Any]:
    sums = {"fake": float(evidence[evidence > 0].sum()), "real": float(-evidence[evidence < 0].sum())}
    overlay = drawing.overlay(network.model, pixels, evidence)
    return {"image": data_uri(overlay), "strongest": float(np.abs(evidence).max()), **sums}


def data_uri(image: Image.Image) -> str:
    """RGB image -> WebP of at most SIDE px and MAX_BYTES bytes, as a data URI."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    for quality in QUALITIES:
        file = io.BytesIO()
        small.save(file, "WEBP", quality=quality)
        if file.tell() <= MAX_BYTES:
            break
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
