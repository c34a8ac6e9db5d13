"""Networks: their parts, and the function that builds one from a model config."""

from lfm_jax.models.lfm import Lfm, Output
from lfm_jax.models.pooling import Pooling
from lfm_jax.models.registry import BACKBONES, HEADS, POOLINGS, abstract_variables, build, init, random_variables
from lfm_jax.models.resnet import ResNet
from lfm_jax.models.snet import SNet

__all__ = [
    "BACKBONES",
    "HEADS",
    "POOLINGS",
    "Lfm",
    "Output",
    "Pooling",
    "ResNet",
    "SNet",
    "abstract_variables",
    "build",
    "init",
    "random_variables",
]
