"""The whole state of a training run."""

from dataclasses import dataclass
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """`step` int32 [] counts the updates made. The state of the data loader and all keys follow from it and are not kept.

    `average` is the moving average of params and batch_stats, a tree like `trained`; None where none is kept.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any = None

    @property
    def trained(self) -> dict[str, Any]:
        """The variables that the optimizer moves."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that are validated, tested and exported: the average if one is kept."""
        return self.trained if self.average is None else self.average
