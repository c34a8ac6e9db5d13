"""Runs a detector that `lfm export --format=stablehlo` wrote. Needs jax, numpy, and flatbuffers, with which jax reads the file.

    detector = load("lfm.stablehlo")
    detector(images)         # uint8 RGB [N, H, W, 3] -> logits float32 [N]; above 0 means fake
    detector.card            # how to prepare images and read logits: preprocessing, temperature, threshold, ...

This file stands alone: copy it wherever the .stablehlo goes.
"""

import json
import os
import zipfile
from typing import Any

import jax
import jax.export
import numpy as np


class Detector:
    """The program, compiled for each new shape of images, on the device that jax uses."""

    def __init__(self, program: jax.export.Exported, card: dict[str, Any]):
        self.card = card
        self._run = jax.jit(program.call)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits float32 [N] of images uint8 RGB [N, H, W, 3]. An odd last row or column is ignored.

        Raises:
          ValueError: the images have another shape or dtype, or are too small.
        """
        least = self.card["network"]["smallest_side"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < least:
            raise ValueError(f"expected images uint8 [N, H, W, 3] of at least {least} px, got {images.dtype} {list(images.shape)}")
        return np.asarray(self._run(images))


def load(path: str | os.PathLike[str]) -> Detector:
    """Read NAME.stablehlo."""
    with zipfile.ZipFile(path) as archive:
        return Detector(jax.export.deserialize(bytearray(archive.read("program.bin"))), json.loads(archive.read("card.json")))
