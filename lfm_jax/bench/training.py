"""The training step, images and labels in host memory, against the same step in PyTorch in the same rounds.

In: a run's config. Out: rows for the table: the config as it is, and without its regularisers, which is what
PyTorch's step computes; the losses of the first step have to agree.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lfm_jax import models
from lfm_jax.bench import machine, work
from lfm_jax.bench.common import Row, disagreement, first_line, planned_bytes, random_images, time_in_turns, unmeasured
from lfm_jax.runtime import sharding
from lfm_jax.training import optim
from lfm_jax.training.step import compiled_step, first_state

Trainer = Callable[[np.ndarray, np.ndarray], float]


def ours(config: ConfigDict, variables: Mapping[str, Any], side: int) -> tuple[Trainer, int]:
    """-> trainer of `config.batch_size` images, compiled, and the bytes that XLA plans for its step on a device."""
    devices = sharding.data_mesh()
    model = models.build(config.model)
    tx, _ = optim.build(config.optim, steps=1 << 20, steps_per_epoch=1e3, batch_size=config.batch_size)
    fresh = first_state(config, tx, variables)
    state = jax.tree.map(jnp.copy, jax.device_put(fresh, sharding.replicated(devices)))  # donated: the caller's stay
    split = sharding.split_batch(devices)

    def batch(images: np.ndarray, labels: np.ndarray) -> dict[str, jax.Array]:
        views = images[:, None].repeat(2, 1) if config.consistency else images
        return jax.device_put({"image": views, "label": labels}, split)

    step = compiled_step(config, model, tx, state)
    like = batch(np.zeros((config.batch_size, side, side, 3), np.uint8), np.zeros(config.batch_size, np.float32))
    program = step.lower(state, like, frozen=False).compile()

    def train(images: np.ndarray, labels: np.ndarray) -> float:
        nonlocal state
        state, metrics = program(state, batch(images, labels))
        return float(metrics["loss"])

    return train, planned_bytes(program)


def without_regularisers(config: ConfigDict) -> ConfigDict:
    """The step that PyTorch's baseline makes."""
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
    measured: Callable[..., tuple[Any, int]] = unmeasured,
) -> Iterator[Row]:
    """A row for each way of training; ratios are to the first way of `baseline`, else to the config as it is."""
    batch, dtype = config.batch_size, config.model.compute_dtype
    images, labels = random_images(batch, side), np.arange(batch, dtype=np.float32) % 2
    whole, plain = f"lfm_jax {dtype}", f"lfm_jax {dtype}, no regularisers"
    configs = {plain: without_regularisers(config), whole: config}
    found, ways, expected = {}, {}, np.array(np.nan)
    for name in (*configs, *baseline):
        found[name] = row = Row(name, batch)
        try:
            if name in configs:
                ways[name], row.memory = ours(configs[name], variables, side)
                loss = np.array(ways[name](images[0], labels))
            else:
                ways[name] = baseline[name]()
                loss, row.memory = measured(ways[name], images[0], labels)
            expected = loss if name == plain else expected
            row.skipped = "" if name == whole else disagreement(np.array(loss), expected, "bfloat16")
        except Exception as error:  # one way that fails, out of memory for one, must not end the table
            row.skipped = first_line(error)
    timed = {name: _on(ways[name], images, labels) for name, row in found.items() if not row.skipped}
    timings = time_in_turns(timed, seconds=seconds)
    first = next((name for name in (*baseline, whole, plain) if name in timings), "")
    flops, peak = 3 * work.flops(models.build(config.model), side), machine.peak_flops(dtype)
    for name, row in found.items():
        if name in timings:
            row.fill(timings[name], reference=timings[first], flops=flops, peak=peak if name in configs else 0.0)
        yield row


def _on(train: Trainer, images: list[np.ndarray], labels: np.ndarray) -> Callable[[int], object]:
    return lambda round_: train(images[round_ % len(images)], labels)
