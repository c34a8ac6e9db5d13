"""Weights as files that run elsewhere: each carries its card, and is checked against the network before it appears.

`lfm convert` goes from one file of weights to another and back; this is the last step, from which there need be no way back.
"""

from lfm_jax.export.formats import FORMATS, Exported, export
from lfm_jax.export.hub import export_hub

__all__ = ["FORMATS", "Exported", "export", "export_hub"]
