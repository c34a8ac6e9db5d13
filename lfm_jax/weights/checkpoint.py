"""Checkpoints: the last ones to resume from, and the best one on the validation set to use. One alone: `checkpoint_files`.

    WORKDIR/checkpoints/last/STEP    weights, optimizer, card, config; where the weights are a moving average, also what is trained
    WORKDIR/checkpoints/best/STEP    weights, card and validation metrics
    WORKDIR/checkpoints/set_aside-*  damaged or left-over ones that were in the way of the run

Each explains itself and can be restored on any devices. Saves are asynchronous. A checkpoint appears by rename, in a bucket by
a marker that is written last, so a killed run leaves only complete ones. Each holds the sha256 of all its parts, which every
load compares: bits that changed on the disk are noticed.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lfm_jax.errors import WeightsError
from lfm_jax.runtime import sharding
from lfm_jax.runtime.distributed import is_main
from lfm_jax.runtime.exchange import gather, wait_for_all
from lfm_jax.runtime.storage import AnyPath
from lfm_jax.weights.card import Card
from lfm_jax.weights.checkpoint_files import (
    absolute,
    check_new,
    load_weights,
    new_manager,
    on_host,
    proven,
    read_weights,
    require_plausible,
    save_weights,
    stored_hashes,
    writing,
)
from lfm_jax.weights.damage import DamagedError, move_aside, reading, set_aside_without_metrics
from lfm_jax.weights.integrity import check_hashes, json_hash, tree_hash
from lfm_jax.weights.state import TrainState

__all__ = ["Checkpoints", "check_new", "load_weights", "save_weights"]


class Checkpoints:
    """The checkpoints of one workdir. Use it as a context manager: leaving it waits for saves in progress."""

    def __init__(self, workdir: AnyPath, *, keep: int):
        folder = absolute(workdir) / "checkpoints"
        set_aside_without_metrics(folder / "best")
        self._last = new_manager(folder / "last", keep)
        self._best = new_manager(folder / "best", 1)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        with nullcontext() if kind is None else suppress(Exception):  # the error that is being raised says more
            self.wait()
            for manager in (self._last, self._best):
                with writing(manager):
                    manager.close()

    def wait(self) -> None:
        """Waits until every save in progress is complete.

        Raises:
          CheckpointError: one could not be written. A save raises it for the one before, too.
        """
        for manager in (self._last, self._best):
            with writing(manager):
                manager.wait_until_finished()

    def save_last(self, step: int, state: TrainState, card: Card, config: Mapping[str, Any]) -> None:
        """Keeps `state` to resume from, unless this step is already kept.

        Raises:
          FloatingPointError: the state has values that are not finite. Nothing is saved.
        """
        if step not in self._last.all_steps():
            self._save(self._last, step, _arrays(state), card, config=dict(config))

    def save_best(self, step: int, state: TrainState, card: Card, metrics: Mapping[str, Any]) -> None:
        """Replaces the weights that are best on the validation set. Raises FloatingPointError as `save_last` does."""
        self.wait()
        newer = [best for best in self._best.all_steps() if best >= step]  # the run went back; orbax saves nothing below them
        self._set_aside(self._best, newer, f"step {step} validated better than the best checkpoint, which is of a later step")
        self._save(self._best, step, {"weights": state.variables}, card, metrics=dict(metrics))

    def best_metrics(self) -> dict[str, Any]:
        """Validation metrics of the best checkpoint, {} if it does not exist."""
        self.wait()
        step = self._best.latest_step()
        if step is None:
            return {}
        with reading(_folder(self._best, step)):
            metrics = _restore_json(self._best, step, "metrics")
            check_hashes(stored_hashes(_folder(self._best, step)), {"metrics": json_hash(metrics)})
            return metrics

    def best_weights(self) -> tuple[Any, Card]:
        """Variables and card of the best checkpoint."""
        self.wait()
        return read_weights(_folder(self._best, self._best.latest_step()))

    def restore_last(self, like: TrainState, check_saved: Callable[[dict[str, Any], dict[str, Any]], None]) -> TrainState | None:
        """The newest checkpoint, or None if there is nothing to resume from.

        Damaged ones are set aside and named, so that the run can save their steps again.

        Args:
          like: the state's shapes and shardings; abstract arrays will do.
          check_saved: given the saved config and card, raises ConfigError for a state that would not be like `like`.

        Raises:
          WeightsError: there are checkpoints, but none can be restored, or one cannot be read. Nothing was changed then.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._last.all_steps(), reverse=True):
            state, fault, stop = None, "", ""
            try:
                state = self._restore(step, like, check_saved)
            except DamagedError as error:
                fault = str(error)
            except WeightsError as error:
                stop = str(error)
            faults, stops = zip(*gather([fault, stop]), strict=True)  # so that all processes do the same
            if any(stops):
                raise WeightsError(next(filter(None, stops)))
            if not any(faults):
                for number, reason in damaged.items():
                    self._set_aside(self._last, [number], reason)
                self._set_aside_damaged_best()
                return state
            damaged[step] = next(filter(None, faults))
        if damaged:
            raise WeightsError(
                f"none of the checkpoints in {self._last.directory} can be restored, and nothing was changed. Bring them back "
                "from a copy, or start again in another workdir:\n  " + "\n  ".join(damaged.values())
            )
        self._set_aside(
            self._best, list(self._best.all_steps()), "the best checkpoint is of another run, as there is none to resume from"
        )
        return None

    def _restore(self, step: int, like: TrainState, check_saved: Callable[..., None]) -> TrainState:
        folder = _folder(self._last, step)
        with reading(folder):
            config, card = (_restore_json(self._last, step, name) for name in ("config", "card"))
            hashes = stored_hashes(folder)
            check_hashes(hashes, {"config": json_hash(config), "card": json_hash(card)})
            check_saved(config, card)
            targets = {name: ocp.args.StandardRestore(_abstract(tree)) for name, tree in _arrays(like).items()}
            restored = self._last.restore(step, args=ocp.args.Composite(**targets))
            check_hashes(hashes, {name: tree_hash(tree) for name, tree in on_host(restored, list(targets)).items()})
            require_plausible({name: restored[name] for name in targets})
        average = None if like.average is None else restored["weights"]
        trained = restored["weights" if average is None else "trained"]
        placed_step = sharding.place(np.int32(step), like.step.sharding)
        return TrainState(placed_step, **trained, opt_state=restored["optimizer"], average=average)

    def _save(self, manager: ocp.CheckpointManager, step: int, arrays: Mapping[str, Any], card: Card, **others: Any) -> None:
        self.wait()  # for the other one: orbax names its barriers by the step alone, and processes would mix up two saves at once
        items = proven(arrays, card, f"step {step}", **others)
        with writing(manager):
            if not manager.save(step, args=items):
                raise RuntimeError(f"orbax saves no step {step} beside step {manager.latest_step()}")

    def _set_aside_damaged_best(self) -> None:
        step = self._best.latest_step()
        if step is None:
            return
        fault = ""
        try:
            read_weights(_folder(self._best, step))
            self.best_metrics()
        except DamagedError as error:
            fault = str(error)
        if any(gather(fault)):
            self._set_aside(self._best, [step], fault or "the best checkpoint is damaged")

    def _set_aside(self, manager: ocp.CheckpointManager, steps: list[int], reason: str) -> None:
        """Moves checkpoints to WORKDIR/checkpoints/set_aside-{last,best}-STEP, and says why."""
        if not steps:
            return
        with writing(manager):
            for step in steps if is_main() else ():
                move_aside(_folder(manager, step), reason)
            wait_for_all()  # until they are renamed
            manager.reload()


def _folder(manager: ocp.CheckpointManager, step: int | None) -> AnyPath:
    return manager.directory / str(step)


def _restore_json(manager: ocp.CheckpointManager, step: int, name: str) -> dict[str, Any]:
    return manager.restore(step, args=ocp.args.Composite(**{name: ocp.args.JsonRestore()}))[name]


def _arrays(state: TrainState) -> dict[str, Any]:
    """The parts of a state by the names they are saved under."""
    arrays = {"weights": state.variables, "optimizer": state.opt_state}
    return arrays if state.average is None else {**arrays, "trained": state.trained}


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)
