"""The training step: loss, gradient, update; one program for a global batch on any number of devices.

In: TrainState and a batch on the devices. Out: the next state and the metrics as device scalars. Needs jax, flax
and optax alone: no loader, no checkpoints.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from lfm_jax.models import Lfm
from lfm_jax.runtime import sharding
from lfm_jax.runtime.rng import Stream, step_key
from lfm_jax.training.losses import disagreement, lfm_loss
from lfm_jax.weights.state import TrainState


def first_state(config: ConfigDict, tx: optax.GradientTransformation, variables: Mapping[str, Any]) -> TrainState:
    """State at step 0 with these variables."""
    params = variables["params"]
    average = jax.tree.map(jnp.copy, dict(variables)) if config.average_decay else None  # each is donated, so not one array twice
    return TrainState(jnp.int32(0), params, variables["batch_stats"], tx.init(params), average)


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    model: Lfm,
    tx: optax.GradientTransformation,
    seed: int,
    aux_weight: float,
    label_smoothing: float = 0.0,
    consistency: float = 0.0,
    average_decay: float = 0.0,
    frozen: bool = False,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update on a global batch {"image" uint8 [B, H, W, 3], "label" [B]} -> new state, scalars loss, acc, grad_norm.

    With an axis in front, [A, B / A, ...], the parts pass one after another and their gradients are averaged;
    BatchNorm sees one part at a time. Images [B, 2, H, W, 3] are two views of each: 2 B images to the network, and
    `consistency` times their disagreement (reported, too) is added to the loss. `frozen` runs the network in evaluation
    mode: BatchNorm by its running averages, no rank dropout. Draws depend on (seed, state.step, part, place in the part) alone.
    """
    keys = {
        "rank_dropout": step_key(seed, Stream.RANK_DROPOUT, state.step),
        "random_k": step_key(seed, Stream.RANDOM_K, state.step),
    }

    terms: dict[str, Any] = {"aux_weight": aux_weight, "label_smoothing": label_smoothing, "consistency": consistency}
    gradient = jax.grad(functools.partial(part_loss, model=model, train=not frozen, **terms), has_aux=True)
    if batch["label"].ndim == 1:
        grads, (metrics, batch_stats) = gradient(state.params, state.batch_stats, batch, keys)
    else:

        def one_part(batch_stats: Any, numbered: tuple[jax.Array, dict[str, jax.Array]]) -> tuple[Any, Any]:
            number, part = numbered
            own_keys = {name: jax.random.fold_in(key, number) for name, key in keys.items()}
            grads, (metrics, batch_stats) = gradient(state.params, batch_stats, part, own_keys)
            return batch_stats, (grads, metrics)

        numbers = jnp.arange(len(batch["label"]))
        batch_stats, passed = jax.lax.scan(one_part, state.batch_stats, (numbers, batch))
        grads, metrics = jax.tree.map(lambda values: values.mean(0), passed)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    moved = TrainState(state.step + 1, params, batch_stats, opt_state)
    if state.average is not None:
        moved = replace(moved, average=averaged(state.average, moved.trained, state.step, decay=average_decay))
    return moved, metrics | {"grad_norm": optax.tree.norm(grads)}


def part_loss(
    params: Any,
    batch_stats: Any,
    part: dict[str, jax.Array],
    keys: dict[str, jax.Array],
    *,
    model: Lfm,
    train: bool,
    aux_weight: float,
    label_smoothing: float,
    consistency: float,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
    """Loss of a part of the batch -> scalar, (metrics, BatchNorm statistics after it); the arguments are `train_step`'s."""
    images, labels = part["image"], part["label"]
    if two_views := images.ndim == 5:  # next to each other in the batch, so that both lie on one device
        images, labels = images.reshape(-1, *images.shape[2:]), labels.repeat(2)
    variables = {"params": params, "batch_stats": batch_stats}
    output, updated = model.apply(variables, images, train=train, keys=keys, mutable=["batch_stats"])
    loss = lfm_loss(output, labels, aux_weight=aux_weight, label_smoothing=label_smoothing)
    metrics = {"acc": jnp.mean((output.logits > 0) == (labels > 0.5))}
    if two_views:
        metrics["disagreement"] = disagreement(output.logits.reshape(-1, 2))
        loss += consistency * metrics["disagreement"]
    return loss, ({"loss": loss, **metrics}, updated["batch_stats"])


def averaged(average: Any, trained: Any, step: jax.Array, *, decay: float) -> Any:
    """Moving average after update `step` (from 0): the share of the past grows from 1/10 to `decay`, so that the start fades.

    BatchNorm's statistics are averaged as the weights are; its counters stay those of the run.
    """
    past = jnp.minimum(decay, (1.0 + step) / (10.0 + step))

    def moved(old: jax.Array, new: jax.Array) -> jax.Array:
        return new + past * (old - new) if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(moved, average, trained)


def compiled_step(config: ConfigDict, model: Lfm, tx: optax.GradientTransformation, state: TrainState) -> Any:
    """jit of `train_step`: the state donated, and laid out as `state` (arrays or shapes) is; metrics on every device."""
    options = {
        "model": model,
        "tx": tx,
        "seed": config.seed,
        "aux_weight": config.model.random_k.aux_weight,
        "label_smoothing": config.label_smoothing,
        "consistency": config.consistency,
        "average_decay": config.average_decay,
    }
    return jax.jit(
        functools.partial(train_step, **options),
        donate_argnames="state",
        static_argnames="frozen",
        out_shardings=(sharding.shardings(state), state.step.sharding),  # the step counter is on every device, too
    )
