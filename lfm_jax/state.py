"""The whole state of a training run."""

from dataclasses import dataclass
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """`step` int32 [], number of updates made. Nothing of the data loader and no keys: both follow from it."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
