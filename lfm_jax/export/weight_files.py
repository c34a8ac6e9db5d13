"""Weights as they are, under PyTorch's names: `--format=safetensors`, the card inside, and `--format=torch`, the card beside.

A .pth comes with a module that runs it without this package: NAME.pth, NAME.pth.card.json and lfm_torch.py, which is the
same for all weights.
"""

import shutil
from pathlib import Path

import jax
import numpy as np

from lfm_jax.export.parity import Scorer
from lfm_jax.inference.detector import Detector, load
from lfm_jax.weights import io as weights_io

TORCH_MODULE = Path(__file__).with_name("lfm_torch.py")


def write_safetensors(path: Path, detector: Detector, side: int = 0) -> None:
    """Raises WeightsError: a head that has no place among PyTorch's names."""
    weights_io.save(path, weights_io.Weights(jax.tree.map(np.asarray, detector.variables), detector.card))


def safetensors_scorer(path: Path) -> Scorer:
    """The file, loaded as `lfm predict` loads it."""
    return load(path).logits


def write_torch(path: Path, detector: Detector, side: int = 0) -> None:
    """Raises WeightsError: no PyTorch, or not the released network (widths, maps and k are free)."""
    weights_io.save(path, weights_io.Weights(jax.tree.map(np.asarray, detector.variables), detector.card))
    shutil.copyfile(TORCH_MODULE, path.with_name(TORCH_MODULE.name))


def torch_scorer(path: Path) -> Scorer:
    """The file, run by the module that lies beside it."""
    from lfm_jax.export import lfm_torch

    return lfm_torch.load(path).logits
