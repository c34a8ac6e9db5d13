"""A training step, from images and labels in host memory, against the same step in PyTorch in the same rounds."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lfm_jax import models
from lfm_jax.bench import machine
from lfm_jax.bench.measuring import Measure, measure_nothing, mismatch, random_images, short_reason, time_in_turns
from lfm_jax.bench.rows import Row
from lfm_jax.bench.stage_costs import flops_per_image
from lfm_jax.runtime import sharding
from lfm_jax.runtime.program_memory import program_memory
from lfm_jax.training import optim
from lfm_jax.training.step import compiled_step, first_state

Trainer = Callable[[np.ndarray, np.ndarray], float]  # images uint8 [B, H, W, 3], labels [B] -> loss of a step


def jax_trainer(config: ConfigDict, variables: Mapping[str, Any], side: int) -> tuple[Trainer, int]:
    """A compiled trainer of `config.batch_size` images, and the bytes that XLA plans for its step on a device."""
    devices = sharding.data_mesh()
    model = models.build(config.model)
    tx, _ = optim.build(config.optim, steps=1 << 20, steps_per_epoch=1e3, batch_size=config.batch_size)
    # A copy, because a step donates its state and the caller keeps the variables.
    state = jax.tree.map(jnp.copy, jax.device_put(first_state(config, tx, variables), sharding.replicated(devices)))
    split = sharding.split_batch(devices)

    def batch(images: np.ndarray, labels: np.ndarray) -> dict[str, jax.Array]:
        views = images[:, None].repeat(2, 1) if config.consistency else images
        return jax.device_put({"image": views, "label": labels}, split)

    step = compiled_step(config, model, tx, state)
    empty = batch(np.zeros((config.batch_size, side, side, 3), np.uint8), np.zeros(config.batch_size, np.float32))
    program = step.lower(state, empty, frozen=False).compile()

    def train(images: np.ndarray, labels: np.ndarray) -> float:
        nonlocal state
        state, metrics = program(state, batch(images, labels))
        return float(metrics["loss"])

    return train, program_memory(program).peak


def without_regularisers(config: ConfigDict) -> ConfigDict:
    """The config of the step that the PyTorch baseline makes."""
    plain = config.copy_and_resolve_references()
    plain.model.rank_dropout.p_max = plain.model.random_k.aux_weight = 0.0
    plain.label_smoothing = plain.consistency = plain.average_decay = 0.0
    return plain


def rows(
    config: ConfigDict,
    variables: Mapping[str, Any],
    *,
    side: int,
    seconds: float,
    baseline: Mapping[str, Callable[[], Trainer]],
    measure: Measure = measure_nothing,
) -> Iterator[Row]:
    """A row for each way of training: the config as it is, without its regularisers, and the ways of `baseline`.

    The losses of the first step have to agree with ours without regularisers, which is what the baseline computes. Ratios
    are to the first way of `baseline`, or to the config as it is if there is none.

    Args:
      seconds: of timing in all.
      baseline: makers of trainers, by name.
      measure: tells the memory that a trainer of `baseline` takes.
    """
    batch, dtype = config.batch_size, config.model.compute_dtype
    images, labels = random_images(batch, side), np.arange(batch, dtype=np.float32) % 2
    whole, plain = f"lfm_jax {dtype}", f"lfm_jax {dtype}, no regularisers"
    configs = {plain: without_regularisers(config), whole: config}
    table = {name: Row(name, batch) for name in (*configs, *baseline)}
    trainers, expected = {}, np.array(np.nan)
    for name, row in table.items():
        try:
            if name in configs:
                trainers[name], row.memory = jax_trainer(configs[name], variables, side)
                loss = np.array(trainers[name](images[0], labels))
            else:
                trainers[name] = baseline[name]()
                loss, row.memory = measure(trainers[name], images[0], labels)
            expected = loss if name == plain else expected
            row.skipped = "" if name == whole else mismatch(np.array(loss), expected, "bfloat16")
        except Exception as error:  # one way that fails, out of memory for instance, must not end the table
            row.skipped = short_reason(error)
    timed = {name: _on(trainers[name], images, labels) for name, row in table.items() if not row.skipped}
    timings = time_in_turns(timed, seconds=seconds)
    reference = next((name for name in (*baseline, whole, plain) if name in timings), "")
    flops, peak = 3 * flops_per_image(models.build(config.model), side), machine.peak_flops(dtype)
    for name, row in table.items():
        if name in timings:
            row.fill(timings[name], reference=timings[reference], flops=flops, peak=peak if name in configs else 0.0)
        yield row


def _on(train: Trainer, images: list[np.ndarray], labels: np.ndarray) -> Callable[[int], object]:
    return lambda round_: train(images[round_ % len(images)], labels)
