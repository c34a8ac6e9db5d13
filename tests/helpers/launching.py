"""For tests that start `lfm` as a user would: a small preset, an environment, and readers of what a run left behind."""

import os
import sys
from pathlib import Path

import jax
import numpy as np

from lfm_jax.training import writers
from lfm_jax.weights import io as weights_io
from tests.helpers.paths import LAUNCH as LAUNCH

PRESET = """
from lfm_jax.config import base

def get_config():
    config = base()
    config.steps = 20
    config.batch_size = 16
    config.model.widths, config.model.maps, config.model.pooling.k = (4, 8, 8, 8), 4, 4
    config.data.source, config.data.resize, config.data.crop = "synthetic", 0, 48
    config.data.synthetic.side, config.data.synthetic.train = 64, 64
    config.data.synthetic.val, config.data.synthetic.test = 15, 16
    config.optim.lr = 1e-2
    config.eval.protocol = "native"
    config.eval.every_steps = config.checkpoint.every_steps = 10
    config.log_every_steps = 1
    return config
"""


def environment(**changes):
    """This process's environment on the CPU, with this Python's `lfm` on PATH, and `changes` on top."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "JAX_PLATFORMS": "cpu", **changes}


def values(lines):
    """Lines of metrics without the speed, which differs from run to run."""
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines]


def lines(workdir, split="train"):
    """The metrics that a run logged for one split, without the speed."""
    return values(line for line in writers.read(workdir) if line["split"] == split)


def losses(workdir):
    """The training loss of every logged step."""
    return [line["loss"] for line in lines(workdir)]


def same_weights(one, other):
    """Whether the last checkpoints of two workdirs hold the same weights, to the bit."""
    ours, theirs = (weights_io.load(workdir / "checkpoints" / "last").variables for workdir in (one, other))
    return jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))
