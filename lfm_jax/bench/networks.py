"""Networks and weights for timing, where it does not matter what they have learnt."""

import math
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lfm_jax import models
from lfm_jax.models import Lfm


def with_dtype(config: ConfigDict, dtype: str) -> Lfm:
    """The network of a model config, computing in `dtype`."""
    changed = config.copy_and_resolve_references()
    changed.compute_dtype = dtype
    return models.build(changed)


def random_variables(model: Lfm, seed: int = 0) -> dict[str, Any]:
    """Variables as numpy arrays, with random kernels and neutral vectors; `models.init` would take long to compile."""
    rng = np.random.default_rng(seed)

    def values(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)
        return (rng.normal(size=leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1]))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(values, models.abstract_variables(model))
