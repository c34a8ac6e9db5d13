"""The LFM network in PyTorch: the yardstick of the benchmarks and the strict-loading class of the export tests."""

from lfm_jax.export.lfm_torch import TorchLfm, normalize

__all__ = ["TorchLfm", "normalize"]
