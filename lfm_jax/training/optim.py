"""The optimizer and its learning-rate schedule, built from the optim config."""

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from lfm_jax.errors import ConfigError


def build(
    config: ConfigDict, *, steps: int, steps_per_epoch: float, batch_size: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer, and the schedule that gives the learning rate of each step's update, counted from 0.

    Args:
      config: `lfm_jax.config.optim()`, changed or not.
      steps: length of the whole run.
      batch_size: global; the learning rate may depend on it.

    Raises:
      ConfigError: the name or the schedule is unknown, weight decay is set without adamw, or the warm-up does not fit the run.
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
    """The learning rate for this batch size, by the rule `config.lr_scaling`. Raises ConfigError for an unknown rule."""
    powers = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}
    if config.lr_scaling not in powers:
        raise ConfigError(f"config.optim.lr_scaling = {config.lr_scaling!r}: expected none, linear or sqrt")
    return config.lr * (batch_size / config.base_batch_size) ** powers[config.lr_scaling]


def build_schedule(config: ConfigDict, lr: float, *, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """The schedule `config.schedule` of `lr`, after a linear warm-up from lr / (warmup_steps + 1) over `warmup_steps`.

    Raises:
      ConfigError: the schedule is unknown, or the warm-up does not fit the run.
    """
    warmup = config.warmup_steps
    if not 0 <= warmup < max(steps, 1):
        raise ConfigError(f"config.optim.warmup_steps = {warmup} does not fit a run of {steps} steps")
    if config.schedule == "staircase":
        stairs = staircase(lr, steps_per_epoch=steps_per_epoch, **config.staircase)
        # The stairs count the epochs of the whole run, warm-up included.
        return lambda step: stairs(step) * jnp.minimum(1.0, (step + 1) / (warmup + 1))
    if config.schedule == "constant":
        return optax.warmup_constant_schedule(lr / (warmup + 1), lr, warmup)
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(lr / (warmup + 1), lr, warmup, steps)
    raise ConfigError(f"config.optim.schedule = {config.schedule!r}: expected staircase, constant or cosine")


def staircase(
    lr: float, *, factor: float, every_epochs: float, offset_epochs: float, floor: float, steps_per_epoch: float
) -> optax.Schedule:
    """A schedule that multiplies `lr` by `factor` every `every_epochs`, counted after `offset_epochs`, down to `floor`.

    release: NPR's loop lowers it after epochs 11, 21, ..., that is every 10 epochs with an offset of 1.
    """
    every, offset = every_epochs * steps_per_epoch, offset_epochs * steps_per_epoch

    def schedule(step: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
        # Half a step keeps each boundary at its own step despite float32 rounding.
        stairs = jnp.floor(jnp.maximum(step - offset + 0.5, 0.0) / every)
        return jnp.maximum(lr * factor**stairs, floor)

    return schedule
