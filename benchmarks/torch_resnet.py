"""NPR and ResNet-50 in PyTorch: the yardstick of the benchmarks and the strict-loading class of the parity tests."""

from lfm_jax.export.lfm_torch import TorchResNet, normalize

__all__ = ["TorchResNet", "normalize"]
