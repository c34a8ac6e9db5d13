"""Networks and weights for timing, where it does not matter what they have learnt."""

from ml_collections import ConfigDict

from lfm_jax import models
from lfm_jax.models import Lfm


def with_dtype(config: ConfigDict, dtype: str) -> Lfm:
    """The network of a model config, computing in `dtype`."""
    changed = config.copy_and_resolve_references()
    changed.compute_dtype = dtype
    return models.build(changed)
