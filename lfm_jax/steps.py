"""The training step: loss, gradient, update; one program for a global batch on any number of devices.

In: TrainState and a batch on the devices. Out: the next state and the metrics as device scalars. Needs jax, flax
and optax alone: no loader, no checkpoints.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from lfm_jax import mesh
from lfm_jax.losses import lfm_loss
from lfm_jax.models import Lfm
from lfm_jax.rng import Stream, step_key
from lfm_jax.state import TrainState


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    model: Lfm,
    tx: optax.GradientTransformation,
    seed: int,
    aux_weight: float,
    frozen: bool = False,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update on a global batch {"image" uint8 [B, H, W, 3], "label" [B]} -> new state, scalars loss, acc, grad_norm.

    With an axis in front, [A, B / A, ...], the parts pass one after another and their gradients are averaged;
    BatchNorm sees one part at a time. `frozen` runs the network in evaluation mode: BatchNorm by its running
    averages, no rank dropout. Draws depend on (seed, state.step, part, place in the part) alone.
    """
    keys = {
        "rank_dropout": step_key(seed, Stream.RANK_DROPOUT, state.step),
        "random_k": step_key(seed, Stream.RANDOM_K, state.step),
    }

    def loss_fn(params: Any, batch_stats: Any, part: dict[str, jax.Array], keys: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        variables = {"params": params, "batch_stats": batch_stats}
        output, updated = model.apply(variables, part["image"], train=not frozen, keys=keys, mutable=["batch_stats"])
        acc = jnp.mean((output.logits > 0) == (part["label"] > 0.5))
        return lfm_loss(output, part["label"], aux_weight=aux_weight), (acc, updated["batch_stats"])

    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    if batch["label"].ndim == 1:
        (loss, (acc, batch_stats)), grads = gradient(state.params, state.batch_stats, batch, keys)
    else:

        def one_part(batch_stats: Any, numbered: tuple[jax.Array, dict[str, jax.Array]]) -> tuple[Any, Any]:
            number, part = numbered
            own_keys = {name: jax.random.fold_in(key, number) for name, key in keys.items()}
            (loss, (acc, batch_stats)), grads = gradient(state.params, batch_stats, part, own_keys)
            return batch_stats, (loss, acc, grads)

        numbers = jnp.arange(len(batch["label"]))
        batch_stats, passed = jax.lax.scan(one_part, state.batch_stats, (numbers, batch))
        loss, acc, grads = jax.tree.map(lambda values: values.mean(0), passed)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {"loss": loss, "acc": acc, "grad_norm": optax.tree.norm(grads)}
    return TrainState(state.step + 1, params, batch_stats, opt_state), metrics


def compiled_step(config: ConfigDict, model: Lfm, tx: optax.GradientTransformation, state: TrainState) -> Any:
    """jit of `train_step`: the state donated, and laid out as `state` (arrays or shapes) is; metrics on every device."""
    options = {"model": model, "tx": tx, "seed": config.seed, "aux_weight": config.model.random_k.aux_weight}
    return jax.jit(
        functools.partial(train_step, **options),
        donate_argnames="state",
        static_argnames="frozen",
        out_shardings=(mesh.shardings(state), state.step.sharding),  # the step counter is on every device, too
    )
