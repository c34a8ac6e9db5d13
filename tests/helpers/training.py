"""Small training runs and single training steps, and ways to interrupt them."""

import contextlib
import functools
import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.evaluation import plots
from lfm_jax.models import random_variables
from lfm_jax.report import page
from lfm_jax.runtime.distributed import StopNotice
from lfm_jax.training import loop, optim, writers
from lfm_jax.training.step import StepOptions, first_state, train_step


def small_config(root, **changes):
    """Six steps of a tiny network on the folder `root`, with a line for every step; `changes` by dotted field."""
    config = config_lib.base()
    config.update_from_flattened_dict(
        {
            "steps": 6,
            "batch_size": 8,
            "log_every_steps": 1,
            "model.widths": (4, 8, 8, 8),
            "model.maps": 4,
            "model.pooling.k": 4,
            "data.root": str(root),
            "data.resize": 0,
            "data.crop": 48,
            "optim.lr": 1e-2,
            "checkpoint.every_steps": 2,
            "eval.every_steps": 3,
            "eval.protocol": "native",
        }
        | changes
    )
    return config


def optional_config(**changes):
    """`small_config` on drawn images, with every option that is off by default."""
    data = {
        "data.source": "synthetic",
        "data.synthetic.side": 56,
        "data.synthetic.train": 32,
        "data.synthetic.val": 8,
        "data.synthetic.test": 16,
        "data.augment.jpeg.p": 0.5,
    }
    options = {"label_smoothing": 0.1, "consistency": 0.5, "average_decay": 0.8}
    return small_config("", **(data | options | changes))


@contextlib.contextmanager
def without_pictures():
    """Testing at the end of a run writes no page and no picture, which take longer than the training of a small one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "write_page", lambda *_, **__: None)
        patch.setattr(plots, "examples", lambda *_: None)
        yield


@contextlib.contextmanager
def steps_traced_once():
    """Runs of equal configs in this process share their step: a small run takes longer to trace it than to make its steps."""
    build, compiled, optimizers, steps = optim.build, loop.compiled_step, {}, {}

    def build_once(config, **lengths):
        key = (config.to_json(), *sorted(lengths.items()))
        if key not in optimizers:
            optimizers[key] = build(config, **lengths)
        return optimizers[key]

    def compiled_once(config, model, tx, state):
        key = config.model.to_json(), repr(StepOptions.from_config(config)), tx, jax.tree.structure(state)
        if key not in steps:
            steps[key] = compiled(config, model, tx, state)
        return steps[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "build", build_once)
        patch.setattr(loop, "compiled_step", compiled_once)
        yield


class SmallStep:
    """The training step of a config under jit with plain gradient descent, a fresh state, and a batch of noise images.

    Called, it makes one step from that state on that batch, or on others.
    """

    def __init__(self, config, *, images=4):
        model = models.build(config.model)
        tx = optax.sgd(0.1)
        self.state = first_state(config, tx, random_variables(model))
        self.batch = {
            "image": np.random.default_rng(0).integers(0, 256, (images, 48, 48, 3), dtype=np.uint8),
            "label": np.arange(images, dtype=np.float32) % 2,
        }
        step = functools.partial(train_step, model=model, tx=tx, options=StepOptions.from_config(config))
        self._step = jax.jit(step, static_argnames="frozen")

    def __call__(self, batch=None, *, state=None, frozen=False):
        return self._step(state or self.state, batch or self.batch, frozen=frozen)


def signal_in_step(monkeypatch, step_to_signal_in, number):
    """Send this process a signal in the step of that number, before it is asked whether to stop."""
    after = StopNotice.after

    def after_a_signal(self, step):
        if step == step_to_signal_in:
            os.kill(os.getpid(), number)
        return after(self, step)

    monkeypatch.setattr(StopNotice, "after", after_a_signal)


class KilledError(Exception):
    """Stands for the end of the process."""


def dies_in_step(step_to_die_in, run):
    """Call `run` in such a way that it ends with the metrics line of that step."""
    write = writers.MetricWriter.write

    def write_and_die(self, step, split, metrics):
        write(self, step, split, metrics)
        if step == step_to_die_in:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(writers.MetricWriter, "write", write_and_die)
        run()


def python(*arguments, **env):
    """Run this Python on the CPU with what it can import here; returns what it left behind, its output as text."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path), **env}
    return subprocess.run([sys.executable, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=600)
