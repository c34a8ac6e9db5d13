"""Metrics of training steps, left on the devices until a metrics line, a validation or a checkpoint needs them."""

import time
from collections.abc import Mapping

import jax
import numpy as np
import optax

from lfm_jax.training.writers import MetricWriter, NoWriter


class StepLog:
    """The metrics of the steps since they were last read. Reading waits for the devices, so it should be rare.

    Args:
      step: the last step before the first one that is added.
      batch_size: images per step, for the speed.
    """

    def __init__(self, writer: MetricWriter | NoWriter, schedule: optax.Schedule, *, step: int, batch_size: int):
        self._writer, self._schedule, self._batch_size = writer, schedule, batch_size
        self._unread: dict[int, Mapping[str, jax.Array]] = {}
        self._newest: dict[str, float] = {}
        self._written_step, self._written_at = step, time.monotonic()

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Note the metrics of a step, without waiting for them."""
        self._unread[step] = metrics

    def read(self) -> None:
        """Wait for the metrics of all steps since the last call.

        Raises:
          FloatingPointError: one of them is not finite; names the first such step.
        """
        for step, metrics in jax.device_get(self._unread).items():
            self._newest = {name: float(value) for name, value in metrics.items()}
            if not np.isfinite(list(self._newest.values())).all():
                raise FloatingPointError(f"step {step}: {self._newest} is not finite; checkpoints from before it are untouched")
        self._unread.clear()

    def write(self, step: int) -> None:
        """Write a line with the metrics read last, the learning rate, and the speed since the line before."""
        now = time.monotonic()
        speed = (step - self._written_step) * self._batch_size / (now - self._written_at)
        lr = float(self._schedule(step - 1))
        self._writer.write(step, "train", {**self._newest, "lr": lr, "images_per_s": round(speed, 2)})
        self._written_step, self._written_at = step, now
