"""The worst mistakes of one cell as pictures: the reals that scored highest and the fakes that scored lowest.

In: predictions of one cell and the Source under its view. Out: dicts with path, score and small JPEGs as data URIs, of
the pixels as the detector saw them and, where it can tell, of where its evidence lay.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from lfm_jax import explain
from lfm_jax.data import protocols
from lfm_jax.data.sources import Source
from lfm_jax.detector import Detector

PER_LABEL = 6
SIDE, QUALITY = 192, 75  # px of the longer side, and of the JPEG: about 10 kB a picture


def mistakes(predictions: Sequence[Mapping[str, Any]], source: Source, detector: Detector) -> list[dict[str, Any]]:
    """-> reals called fake, worst first, then fakes called real: label, path, score, logit, image, evidence (or None)."""
    index_of = {example.path: index for index, example in enumerate(source.examples)}
    wrong = [p for p in predictions if detector.card.is_fake(p["logit"]) != bool(p["label"])]
    found = []
    for label in (0, 1):
        ranked = sorted((p for p in wrong if p["label"] == label), key=lambda p: p["logit"], reverse=label == 0)
        found += [_picture(p, source.image(index_of[p["path"]]), detector) for p in ranked[:PER_LABEL]]
    return found


def _picture(prediction: Mapping[str, Any], image: Image.Image, detector: Detector) -> dict[str, Any]:
    pieces = protocols.parse(prediction["protocol"])(image)
    pixels = pieces[0] if len(pieces) == 1 else pieces[np.argmax(detector.logits(pieces))]  # of tiles the one most fake
    added = explain.evidence(detector, pixels)
    overlay = None if added is None else data_uri(explain.overlay(detector, pixels, added))
    named = {name: prediction[name] for name in ("label", "path", "score", "logit")}
    return {**named, "image": data_uri(Image.fromarray(pixels)), "evidence": overlay}


def data_uri(image: Image.Image) -> str:
    """RGB image -> small JPEG as a data URI."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
