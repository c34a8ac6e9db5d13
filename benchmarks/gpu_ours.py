"""What benchmarks/gpu.py times of lfm_jax: scoring and training, in the form chosen for the device and in a plain one."""

import collections
import csv
import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.bench.networks import with_dtype
from lfm_jax.bench.rows import Row
from lfm_jax.inference.network import forward
from lfm_jax.models import folding
from lfm_jax.ops.conv import plain_conv2x2
from lfm_jax.ops.norm import statistics
from lfm_jax.runtime import sharding
from lfm_jax.runtime.program_memory import program_memory
from lfm_jax.training import optim
from lfm_jax.training.step import compiled_step, first_state
from lfm_jax.weights import io as weights_io

IN_FLIGHT = 3


class Scoring:
    """Scoring batches of one size, ahead-of-time compiled.

    Attributes:
      program: the compiled program.
      memory: bytes that XLA plans for it.
    """

    def __init__(self, config: Any, variables: Any, images: list[np.ndarray], dtype: str, *, folded: bool = True):
        self.model, self.images = with_dtype(config, dtype), images
        devices = sharding.data_mesh(jax.local_devices()[:1])
        weights = folding.fold(self.model, variables) if folded else {"variables": variables}
        self._weights = jax.device_put(weights, sharding.replicated(devices))
        self._sizes = jax.device_put(np.full((len(images[0]), 2), images[0].shape[1], np.int32), sharding.split_batch(devices))
        self._placed = sharding.split_batch(devices)
        shape = jax.ShapeDtypeStruct(images[0].shape, jnp.uint8, sharding=self._placed)
        self.program = forward.lower(self.model, devices, self._weights, shape, self._sizes).compile()
        self.memory = program_memory(self.program).peak

    def put(self, images: np.ndarray) -> jax.Array:
        return jax.device_put(images, self._placed)

    def start(self, images: jax.Array) -> jax.Array:
        logits: jax.Array = self.program(self._weights, images, self._sizes)
        return logits

    @functools.cached_property
    def first(self) -> np.ndarray:
        """The logits of the first batch."""
        return np.asarray(self.start(self.put(self.images[0])))


class Training:
    """Training steps of one batch size, ahead-of-time compiled; `program` and `memory` as in Scoring."""

    def __init__(self, config: Any, variables: Any, images: list[np.ndarray]):
        self.images, batch = images, config.batch_size
        devices, model = sharding.data_mesh(jax.local_devices()[:1]), models.build(config.model)
        tx, _ = optim.build(config.optim, steps=1 << 20, steps_per_epoch=1e3, batch_size=batch)
        state = first_state(config, tx, variables)
        self._state = jax.tree.map(jnp.copy, jax.device_put(state, sharding.replicated(devices)))
        self._placed, self._labels = sharding.split_batch(devices), np.arange(batch, dtype=np.float32) % 2
        step = compiled_step(config, model, tx, self._state)
        self.program = step.lower(self._state, self.put(images[0]), frozen=False).compile()
        self.memory = program_memory(self.program).peak

    def put(self, images: np.ndarray) -> dict[str, jax.Array]:
        return jax.device_put({"image": images, "label": self._labels}, self._placed)

    def start(self, batch: dict[str, jax.Array]) -> jax.Array:
        self._state, metrics = self.program(self._state, batch)
        loss: jax.Array = metrics["loss"]
        return loss

    @functools.cached_property
    def first(self) -> np.ndarray:
        """The loss of the first step; to be asked for before any other."""
        return np.asarray(self.start(self.put(self.images[0])))


def ways(work: Scoring | Training) -> dict[str, Callable[[int], object]]:
    """How batches may come and go, each as run(count): one by one, a few in flight, or on the device alone."""
    images, here = work.images, [work.put(batch) for batch in work.images[:2]]

    def one_by_one(count: int) -> None:
        for number in range(count):
            np.asarray(work.start(work.put(images[number % len(images)])))

    def in_flight(count: int) -> None:
        under_way: collections.deque[jax.Array] = collections.deque()
        for number in range(count):
            under_way.append(work.start(work.put(images[number % len(images)])))
            if len(under_way) == IN_FLIGHT:
                np.asarray(under_way.popleft())
        for results in under_way:
            np.asarray(results)

    def on_device(count: int) -> None:
        jax.block_until_ready([work.start(here[number % len(here)]) for number in range(count)])

    return {"host to host": one_by_one, f"host to host, {IN_FLIGHT} in flight": in_flight, "on the device": on_device}


def golden(shared: Path) -> Generator[Row]:
    """The logits of the released code for every 8th image: float32 to 1e-4 + 1e-5 |logit|, bfloat16 to 2 % of the largest."""
    from lfm_jax.data import protocols
    from lfm_jax.data.images import decode

    loaded = weights_io.load(shared / "weights" / "lfm_bs_model.pth")
    with open(shared / "golden" / "logits.tsv", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))[::8]
    images = np.stack([protocols.parse("resize256")(decode(shared / "data" / line["path"])) for line in lines])
    expected = np.array([float(line["resize256"]) for line in lines])
    for dtype in ("float32", "bfloat16"):
        error = np.abs(Scoring(loaded.card.model_config(), loaded.variables, [images], dtype).first - expected)
        allowed = 1e-4 + 1e-5 * np.abs(expected) if dtype == "float32" else 0.02 * np.abs(expected).max()
        row = Row(f"golden logits {dtype}: at most {error.max():.1e} off", len(images))
        row.skipped = "" if (error <= allowed).all() else f"{int((error > allowed).sum())} of {len(images)} are too far off"
        yield row


def training_config(model: Any, dtype: str, batch: int) -> Any:
    """The config of the step that the PyTorch baseline makes: none of our regularisers."""
    run = config_lib.base()
    run.batch_size, run.model = batch, model.copy_and_resolve_references()
    run.model.compute_dtype = dtype
    run.model.rank_dropout.p_max = run.model.random_k.aux_weight = 0.0
    return run


@contextmanager
def plain_forms() -> Iterator[None]:
    """Training steps compiled inside are as one would write them down: XLA's own gradients and top-k, statistics in two passes."""

    def block(x: Any, kernel: Any, scale: Any, bias: Any, _shift: Any, epsilon: float, pool: bool) -> Any:
        y = plain_conv2x2(x, kernel)
        mean, var = statistics(y)
        normal = (y.astype(jnp.float32) - mean) * lax.rsqrt(var + epsilon) * scale + bias
        activations = jax.nn.relu(normal).astype(x.dtype)
        pooled = nn.max_pool(activations, (2, 2), (2, 2)) if pool else activations
        return pooled, lax.stop_gradient(mean), lax.stop_gradient(var)

    patch = mock.patch
    with patch("lfm_jax.models.layers.conv_norm_relu_pool", block), patch("lfm_jax.ops.pooling.top_k", lax.top_k):
        yield
