"""The LFM network in PyTorch: the yardstick of the benchmarks and the strict-loading class of the export tests."""

from lfm_jax.bench.torch_lfm import IMAGENET_MEAN, IMAGENET_STD, Backbone, TorchLfm, normalize

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "TorchLfm", "normalize"]
