"""The training step: loss, gradient and update, as one program for a global batch on any number of devices.

Needs jax, flax and optax alone: no loader and no checkpoints.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from lfm_jax.data.on_device import degradation_of
from lfm_jax.models import Lfm
from lfm_jax.ops.degradation import Degradation
from lfm_jax.runtime import sharding
from lfm_jax.runtime.rng import Stream, step_key
from lfm_jax.training.losses import LossTerms, disagreement, lfm_loss
from lfm_jax.weights.state import TrainState

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclass(frozen=True)
class StepOptions:
    """What a training step computes besides the network and the optimizer; the fields of a config that reach the program.

    Attributes:
      seed: of all random draws in the step.
      loss: weights of the terms of the loss.
      average_decay: the largest share of the past in the moving average, where the state keeps one.
      degradation: what crops and degrades the images, where the host has not.
    """

    seed: int = 0
    loss: LossTerms = field(default_factory=LossTerms)
    average_decay: float = 0.0
    degradation: Degradation | None = None

    @classmethod
    def from_config(cls, config: ConfigDict) -> Self:
        """Options of a whole training config."""
        loss = LossTerms(config.model.random_k.aux_weight, config.label_smoothing, config.consistency)
        return cls(config.seed, loss, config.average_decay, degradation_of(config.data))


def first_state(config: ConfigDict, tx: optax.GradientTransformation, variables: Mapping[str, Any]) -> TrainState:
    """State at step 0 with these variables."""
    params = variables["params"]
    # A copy, because a step donates the whole state and no array may be donated twice.
    average = jax.tree.map(jnp.copy, dict(variables)) if config.average_decay else None
    return TrainState(jnp.int32(0), params, variables["batch_stats"], tx.init(params), average)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: Lfm,
    tx: optax.GradientTransformation,
    options: StepOptions,
    frozen: bool = False,
) -> tuple[TrainState, Metrics]:
    """Update the state once on a global batch.

    Random draws depend only on the seed, `state.step`, the part of the batch and the place in that part.

    Args:
      state: before the update.
      batch: "image" uint8 [B, H, W, 3] and "label" [B]. With two views of each image, [B, 2, H, W, 3], the network sees
        2 B images. With a leading axis for gradient accumulation, [parts, B / parts, ...], the parts run one after
        another, BatchNorm sees one part at a time, and their gradients are averaged. With `options.degradation`, also
        "draws", and the images are the windows that it takes.
      frozen: run the network in evaluation mode, with BatchNorm's running averages and without rank dropout.

    Returns:
      The state after the update, and the scalars loss, acc, grad_norm and, of two views, disagreement.
    """
    keys = {
        "rank_dropout": step_key(options.seed, Stream.RANK_DROPOUT, state.step),
        "random_k": step_key(options.seed, Stream.RANDOM_K, state.step),
    }
    loss = functools.partial(part_loss, model=model, terms=options.loss, degradation=options.degradation, train=not frozen)
    gradient = jax.grad(loss, has_aux=True)
    if batch["label"].ndim == 1:
        grads, (metrics, batch_stats) = gradient(state.params, state.batch_stats, batch, keys)
    else:
        grads, metrics, batch_stats = mean_over_parts(gradient, state, batch, keys)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    updated = TrainState(state.step + 1, params, batch_stats, opt_state)
    if state.average is not None:
        average = moving_average(state.average, updated.trained, state.step, decay=options.average_decay)
        updated = replace(updated, average=average)
    return updated, metrics | {"grad_norm": optax.tree.norm(grads)}


def part_loss(
    params: Any,
    batch_stats: Any,
    part: Batch,
    keys: Mapping[str, jax.Array],
    *,
    model: Lfm,
    terms: LossTerms,
    degradation: Degradation | None,
    train: bool,
) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """Loss of one part of the batch, with its metrics and the BatchNorm statistics after it."""
    images, labels = part["image"], part["label"]
    if two_views := images.ndim == 5:  # neighbours in the batch, so that both views lie on one device
        images, labels = images.reshape(-1, *images.shape[2:]), labels.repeat(2)
    if degradation:
        images = degradation(images, part["draws"].reshape(len(images), -1))
    variables = {"params": params, "batch_stats": batch_stats}
    output, updated = model.apply(variables, images, train=train, keys=keys, mutable=["batch_stats"])
    loss = lfm_loss(output, labels, terms)
    metrics = {"acc": jnp.mean((output.logits > 0) == (labels > 0.5))}
    if two_views:
        metrics["disagreement"] = disagreement(output.logits.reshape(-1, 2))
        loss += terms.consistency * metrics["disagreement"]
    return loss, ({"loss": loss, **metrics}, updated["batch_stats"])


def mean_over_parts(
    gradient: Callable[..., Any], state: TrainState, batch: Batch, keys: Mapping[str, jax.Array]
) -> tuple[Any, Metrics, Any]:
    """Gradients and metrics averaged over the parts of a batch, and the BatchNorm statistics after the last part."""

    def one_part(batch_stats: Any, numbered: tuple[jax.Array, Batch]) -> tuple[Any, Any]:
        number, part = numbered
        part_keys = {name: jax.random.fold_in(key, number) for name, key in keys.items()}
        grads, (metrics, batch_stats) = gradient(state.params, batch_stats, part, part_keys)
        return batch_stats, (grads, metrics)

    numbers = jnp.arange(len(batch["label"]))
    batch_stats, results = jax.lax.scan(one_part, state.batch_stats, (numbers, batch))
    grads, metrics = jax.tree.map(lambda values: values.mean(0), results)
    return grads, metrics, batch_stats


def moving_average(average: Any, trained: Any, step: jax.Array, *, decay: float) -> Any:
    """The moving average of the trained variables after update number `step`, counted from 0.

    The share of the past grows from 1/10 to `decay`, so that the random start fades. BatchNorm's statistics are averaged
    like the weights; its integer counters are those of the run.
    """
    past = jnp.minimum(decay, (1.0 + step) / (10.0 + step))

    def towards(old: jax.Array, new: jax.Array) -> jax.Array:
        return new + past * (old - new) if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(towards, average, trained)


def compiled_step(config: ConfigDict, model: Lfm, tx: optax.GradientTransformation, state: TrainState) -> Any:
    """`train_step` under jit, to be called as step(state, batch, frozen=...).

    The state is donated, and laid out over the devices as `state` (arrays or shapes) is; metrics are on every device.
    """
    step = functools.partial(train_step, model=model, tx=tx, options=StepOptions.from_config(config))
    on_every_device = state.step.sharding
    return jax.jit(
        step, donate_argnames="state", static_argnames="frozen", out_shardings=(sharding.shardings(state), on_every_device)
    )
