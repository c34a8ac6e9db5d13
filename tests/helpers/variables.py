"""Random variables for a network, without compiling its initialiser."""

import math
from typing import Any

import jax
import numpy as np

from lfm_jax import models
from lfm_jax.models import Lfm


def random_variables(model: Lfm, seed: int = 0) -> dict[str, Any]:
    """Variables of `model` as numpy arrays, a pure function of `seed`.

    Kernels are normal with variance 1 / fan-in. Vectors are neutral: 1 for scales and variances, 0 for biases and means.
    """
    rng = np.random.default_rng(seed)

    def values(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)
        return (rng.normal(size=leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1]))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(values, models.abstract_variables(model))
