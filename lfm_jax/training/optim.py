"""Optimizer and learning-rate schedule from the optim config."""

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from lfm_jax.errors import ConfigError


def build(
    config: ConfigDict, *, steps: int, steps_per_epoch: float, batch_size: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Optim config -> optimizer, schedule (step -> learning rate of that step's update).

    Raises:
      ConfigError: unknown name or schedule, weight decay without adamw, or a warm-up longer than the run.
    """
    lr = scaled_lr(config, batch_size)
    schedule = build_schedule(config, lr, steps=steps, steps_per_epoch=steps_per_epoch)
    betas = {"b1": config.b1, "b2": config.b2, "eps": config.eps}
    if config.name == "adam":
        if config.weight_decay:
            raise ConfigError(f"config.optim.weight_decay = {config.weight_decay} needs config.optim.name = 'adamw'")
        return optax.adam(schedule, **betas), schedule
    if config.name == "adamw":
        return optax.adamw(schedule, **betas, weight_decay=config.weight_decay), schedule
    raise ConfigError(f"config.optim.name = {config.name!r}: expected adam or adamw")


def scaled_lr(config: ConfigDict, batch_size: int) -> float:
    """Learning rate for this batch size, by the rule of `lr_scaling`."""
    powers = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}
    if config.lr_scaling not in powers:
        raise ConfigError(f"config.optim.lr_scaling = {config.lr_scaling!r}: expected none, linear or sqrt")
    return config.lr * (batch_size / config.base_batch_size) ** powers[config.lr_scaling]


def build_schedule(config: ConfigDict, lr: float, *, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """Schedule of `lr` after a linear warm-up over `warmup_steps`."""
    warmup = config.warmup_steps
    if not 0 <= warmup < max(steps, 1):
        raise ConfigError(f"config.optim.warmup_steps = {warmup} does not fit a run of {steps} steps")
    if config.schedule == "staircase":
        after = staircase(lr, steps_per_epoch=steps_per_epoch, **config.staircase)
        # The stairs count the run's epochs, warm-up included.
        return lambda step: after(step) * jnp.minimum(1.0, (step + 1) / (warmup + 1))
    if config.schedule == "constant":
        return optax.warmup_constant_schedule(lr / (warmup + 1), lr, warmup)
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(lr / (warmup + 1), lr, warmup, steps)
    raise ConfigError(f"config.optim.schedule = {config.schedule!r}: expected staircase, constant or cosine")


def staircase(
    lr: float, *, factor: float, every_epochs: float, offset_epochs: float, floor: float, steps_per_epoch: float
) -> optax.Schedule:
    """lr * factor ** n, never below `floor`, where n whole stretches of `every_epochs` lie behind `offset_epochs`.

    release: NPR's loop fires after epochs 11, 21, ...: every 10 with an offset of 1.
    """
    every, offset = every_epochs * steps_per_epoch, offset_epochs * steps_per_epoch

    def schedule(step: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
        # The half step keeps a boundary at its own step under float32 rounding.
        fallen = jnp.floor(jnp.maximum(step - offset + 0.5, 0.0) / every)
        return jnp.maximum(lr * factor**fallen, floor)

    return schedule
