"""Weights under PyTorch's names: `--format=safetensors` with the card inside, and `--format=torch` with the card beside.

A .pth comes with a module that runs it without this package: NAME.pth, NAME.pth.card.json and lfm_torch.py, which is the
same for all weights.
"""

import shutil
from pathlib import Path

import jax
import numpy as np

from lfm_jax.export.parity import Scorer
from lfm_jax.inference.network import Network
from lfm_jax.weights import io as weights_io

TORCH_MODULE = Path(__file__).with_name("lfm_torch.py")


def write_safetensors(path: Path, network: Network, side: int = 0) -> None:
    """Raises WeightsError if PyTorch's names have no place for the head."""
    weights_io.save(path, weights_io.Weights(jax.tree.map(np.asarray, network.variables), network.card))


def safetensors_scorer(path: Path) -> Scorer:
    """The file, loaded as `lfm predict` loads it."""
    return Network.load(path).logits


def write_torch(path: Path, network: Network, side: int = 0) -> None:
    """Raises WeightsError without PyTorch, or if the network differs from the released one in more than widths, maps and k."""
    weights_io.save(path, weights_io.Weights(jax.tree.map(np.asarray, network.variables), network.card))
    shutil.copyfile(TORCH_MODULE, path.with_name(TORCH_MODULE.name))


def torch_scorer(path: Path) -> Scorer:
    """The file, run by the module that lies beside it."""
    from lfm_jax.export import lfm_torch

    return lfm_torch.load(path).logits
