"""The presets as a package: `from lfm_jax.configs import tiny`, in a checkout as in an installed wheel.

This module stands in for the package's `__init__`, because a checkout keeps the presets at its top, in `configs/`.
"""

from lfm_jax.presets import FOLDER

__path__ = [str(FOLDER)]
