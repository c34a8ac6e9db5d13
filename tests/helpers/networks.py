"""Small networks with drawn variables, images for them, and their comparison."""

import functools
import runpy
import sys
from pathlib import Path

import jax
import numpy as np

from lfm_jax import config as config_lib
from lfm_jax import models

REPOSITORY = Path(__file__).resolve().parents[2]
NARROW = {"npr": (4, 6), "resnet50": (4, 6)}  # two stages have every kind of block, and compile in seconds


def images(*shape, seed=0):
    """uint8 [*shape, 3] of independent pixels."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def equal_to_the_bit(left, right):
    """Whether two trees of arrays have the same structure, dtypes and values."""
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), left, right)
    return jax.tree.all(same)


def drawn_snet(seed=0, **changes):
    """An SNet detector whose last two blocks are wide, with variables unlike the ones and zeros of a fresh BatchNorm."""
    config = config_lib.model()
    config.widths, config.maps = (8, 128, 16, 8), 4
    config.update_from_flattened_dict(changes)
    model = models.build(config)
    return model, drawn_variables(model, seed)


def drawn_variables(model, seed=0):
    """Variables of a model of which no two are alike; nothing is compiled for them."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape)
        if len(leaf.shape) > 1:
            values = values / np.sqrt(np.prod(leaf.shape[:-1]))
        return (np.abs(values) + 0.5 if path[-1].key == "var" else values).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, models.abstract_variables(model))


def run(model, variables, images, *, sizes=None, keys=None, **options):
    """`model.apply` as one program: without jit each of its operations is compiled alone, which takes several times as long."""
    return _program(model, **options)(variables, images, sizes, keys)


@functools.cache
def _program(model, **options):
    def apply(variables, images, sizes, keys):
        return model.apply(variables, images, sizes=sizes, keys=keys, **options)

    return jax.jit(apply)


def preset(name, widths=None):
    """A preset of configs/, with other widths if given."""
    folder = REPOSITORY / "configs"
    sys.path.insert(0, str(folder))  # one preset may import another
    try:
        config = runpy.run_path(str(folder / f"{name}.py"))["get_config"]()
    finally:
        sys.path.remove(str(folder))
    config.model.widths = widths or config.model.widths
    return config


def drawn_resnet(name, widths=None):
    """A narrow ResNet with variables unlike the ones and zeros of a fresh BatchNorm, and its model config."""
    config = preset(name, widths or NARROW[name]).model
    model, rng = models.build(config), np.random.default_rng(0)

    def draw(path, leaf):
        if len(leaf.shape) > 1:
            return (rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(np.float32)
        middle = {"scale": 0.6, "var": 1.0}.get(path[-1].key, 0.0)
        return (middle + 0.2 * rng.uniform(-1, 1, leaf.shape)).astype(leaf.dtype)

    return model, jax.tree_util.tree_map_with_path(draw, models.abstract_variables(model)), config
