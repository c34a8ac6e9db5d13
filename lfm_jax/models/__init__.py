"""Networks, and the one function that turns a model config into one."""

from lfm_jax.models.lfm import Lfm, Output
from lfm_jax.models.registry import BACKBONES, HEADS, POOLINGS, abstract_variables, build, init
from lfm_jax.models.resnet import ResNet
from lfm_jax.models.snet import SNet

__all__ = ["BACKBONES", "HEADS", "POOLINGS", "Lfm", "Output", "ResNet", "SNet", "abstract_variables", "build", "init"]
