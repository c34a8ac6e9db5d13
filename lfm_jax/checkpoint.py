"""Checkpoints: the last ones to resume from, the val-best one to use; each explains itself. The only orbax user.

    WORKDIR/checkpoints/last/STEP    weights, optimizer, card, config
    WORKDIR/checkpoints/best/STEP    the same without the optimizer, with its validation metrics

In: TrainState, card, config. Out: the same, on any devices. Saves are asynchronous and appear by rename,
so that a killed run leaves only whole ones.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lfm_jax.card import Card
from lfm_jax.errors import WeightsError, first_line
from lfm_jax.state import TrainState

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one workdir. Use as a context manager: leaving it waits for saves under way."""

    def __init__(self, workdir: Path, *, keep: int):
        folder = workdir.absolute() / "checkpoints"
        self._last = _manager(folder / "last", keep)
        self._best = _manager(folder / "best", 1)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._last.close()
        self._best.close()

    def save_last(self, step: int, state: TrainState, card: Card, config: Mapping[str, Any]) -> None:
        """Keep `state` to resume from, unless this step is kept already."""
        if step not in self._last.all_steps():
            arrays = {"weights": _weights(state), "optimizer": state.opt_state}
            self._last.save(step, args=_composite(arrays, card=asdict(card), config=dict(config)))

    def save_best(self, step: int, state: TrainState, card: Card, metrics: Mapping[str, Any]) -> None:
        """Replace the val-best weights."""
        arrays = {"weights": _weights(state)}
        self._best.save(step, args=_composite(arrays, card=asdict(card), metrics=dict(metrics)))

    def best_metrics(self) -> dict[str, Any]:
        """Validation metrics of the best checkpoint, {} if there is none."""
        step = self._best.latest_step()
        return _restore_json(self._best, step, "metrics") if step is not None else {}

    def best_weights(self) -> tuple[Any, Card]:
        """Variables and card of the best checkpoint."""
        self._best.wait_until_finished()
        return _read(Path(self._best.directory) / str(self._best.latest_step()))

    def restore_last(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """Newest whole checkpoint as arrays like those of `like` (shapes, shardings), and its config.

        A damaged one is passed over with a warning that names it. None: nothing to resume from.
        """
        for step in sorted(self._last.all_steps(), reverse=True):
            try:
                config = _restore_json(self._last, step, "config")
                restored = self._last.restore(
                    step,
                    args=ocp.args.Composite(
                        weights=ocp.args.StandardRestore(_abstract(_weights(like))),
                        optimizer=ocp.args.StandardRestore(_abstract(like.opt_state)),
                    ),
                )
            except Exception as error:  # as in _read
                damaged = self._last.directory / str(step)
                log.warning("checkpoint %s cannot be restored, passed over: %s", damaged, first_line(error))
                continue
            weights = restored["weights"]
            step_array = jax.device_put(np.int32(step), like.step.sharding)
            return TrainState(step_array, weights["params"], weights["batch_stats"], restored["optimizer"]), config
        return None


def load_weights(path: Path) -> tuple[dict[str, Any], Card]:
    """Workdir (its best checkpoint, else its last), or a checkpoint directory -> variables and card.

    Raises:
      WeightsError: no checkpoint there; says what was looked for.
    """
    path = path.absolute()
    if (path / "weights").is_dir() and path.name.isdigit():
        return _read(path)
    for folder in (path / "checkpoints" / "best", path / "checkpoints" / "last", path):
        steps = [int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()] if folder.is_dir() else []
        if steps:
            return _read(folder / str(max(steps)))
    raise WeightsError(f"no checkpoint in {path}: looked for checkpoints/best/STEP, checkpoints/last/STEP and STEP")


def save_weights(path: Path, variables: Mapping[str, Any], card: Card) -> None:
    """Variables and card -> checkpoint directory PATH, as step 0.

    Raises:
      WeightsError: something is there already.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise WeightsError(f"{path} exists and is not empty: choose another name for the checkpoint")
    with _manager(path.absolute(), 1) as manager:
        manager.save(0, args=_composite({"weights": dict(variables)}, card=asdict(card)))


def _read(folder: Path) -> tuple[dict[str, Any], Card]:
    """One checkpoint's weights into host memory: the devices that wrote it need not be here."""
    try:
        arrays, json = ocp.StandardCheckpointHandler(), ocp.JsonCheckpointHandler()
        stored = arrays.metadata(folder / "weights")
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), dict(getattr(stored, "tree", stored)))
        weights = arrays.restore(folder / "weights", args=ocp.args.StandardRestore(like))
        return weights, Card(**json.restore(folder / "card"))
    except Exception as error:  # orbax raises many kinds for one damaged file
        raise WeightsError(f"checkpoint {folder} cannot be read: {first_line(error)}") from error


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    arrays = {name: ocp.StandardCheckpointHandler() for name in ("weights", "optimizer")}
    json = {name: ocp.JsonCheckpointHandler() for name in ("card", "config", "metrics")}
    options = ocp.CheckpointManagerOptions(max_to_keep=keep)
    return ocp.CheckpointManager(folder, item_handlers=arrays | json, options=options)


def _composite(arrays: Mapping[str, Any], **json: Any) -> ocp.args.Composite:
    items = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
    return ocp.args.Composite(**items, **{name: ocp.args.JsonSave(value) for name, value in json.items()})


def _restore_json(manager: ocp.CheckpointManager, step: int, name: str) -> dict[str, Any]:
    return manager.restore(step, args=ocp.args.Composite(**{name: ocp.args.JsonRestore()}))[name]


def _weights(state: TrainState) -> dict[str, Any]:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)
