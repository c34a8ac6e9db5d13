"""Checkpoints: the last ones to resume from, and the best one on the validation set to use. The only module that uses orbax.

    WORKDIR/checkpoints/last/STEP    weights, optimizer, card, config; where the weights are a moving average, also what is trained
    WORKDIR/checkpoints/best/STEP    weights, card and validation metrics

Each explains itself and can be restored on any devices. Saves are asynchronous. A checkpoint appears by rename, in a bucket by
a marker that is written last, so a killed run leaves only complete ones.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lfm_jax.errors import CheckpointError, ConfigError, WeightsError, first_line
from lfm_jax.runtime import sharding
from lfm_jax.runtime.storage import AnyPath
from lfm_jax.weights.card import Card
from lfm_jax.weights.state import TrainState

log = logging.getLogger(__name__)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


class Checkpoints:
    """The checkpoints of one workdir. Use it as a context manager: leaving it waits for saves in progress."""

    def __init__(self, workdir: AnyPath, *, keep: int):
        folder = _absolute(workdir) / "checkpoints"
        self._last = _manager(folder / "last", keep)
        self._best = _manager(folder / "best", 1)
        self._damaged: set[int] = set()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        with nullcontext() if kind is None else suppress(Exception):  # the error that is being raised says more
            self.wait()
            for manager in (self._last, self._best):
                with _writing(manager):
                    manager.close()

    def wait(self) -> None:
        """Waits until every save in progress is complete.

        Raises:
          CheckpointError: one could not be written. A save raises it for the one before, too.
        """
        for manager in (self._last, self._best):
            with _writing(manager):
                manager.wait_until_finished()

    def save_last(self, step: int, state: TrainState, card: Card, config: Mapping[str, Any]) -> None:
        """Keeps `state` to resume from, unless this step is already kept."""
        if step in self._last.all_steps() and step not in self._damaged:
            return
        self.wait()  # for the best one: orbax names its barriers by the step alone, and processes would mix up two saves at once
        arrays = _arrays(state)
        with _writing(self._last):
            if step in self._damaged:
                self._last.delete(step)
                self._damaged.remove(step)
            self._last.save(step, args=_composite(arrays, card=asdict(card), config=dict(config)))

    def save_best(self, step: int, state: TrainState, card: Card, metrics: Mapping[str, Any]) -> None:
        """Replaces the weights that are best on the validation set."""
        self.wait()  # as in save_last
        arrays = {"weights": state.variables}
        with _writing(self._best):
            self._best.save(step, args=_composite(arrays, card=asdict(card), metrics=dict(metrics)))

    def best_metrics(self) -> dict[str, Any]:
        """Validation metrics of the best checkpoint, {} if it does not exist."""
        self.wait()
        step = self._best.latest_step()
        return _restore_json(self._best, step, "metrics") if step is not None else {}

    def best_weights(self) -> tuple[Any, Card]:
        """Variables and card of the best checkpoint."""
        self.wait()
        return _read(self._best.directory / str(self._best.latest_step()))

    def restore_last(self, like: TrainState, check_config: Callable[[dict[str, Any]], None]) -> TrainState | None:
        """The newest complete checkpoint, or None if there is nothing to resume from.

        A damaged one is passed over with a warning that names it.

        Args:
          like: the state's shapes and shardings; abstract arrays will do.
          check_config: raises ConfigError for a saved config whose state would not be like `like`.
        """
        for step in sorted(self._last.all_steps(), reverse=True):
            try:
                check_config(_restore_json(self._last, step, "config"))
                targets = {name: ocp.args.StandardRestore(_abstract(tree)) for name, tree in _arrays(like).items()}
                restored = self._last.restore(step, args=ocp.args.Composite(**targets))
            except ConfigError:
                raise
            except Exception as error:  # as in _read
                damaged = self._last.directory / str(step)
                self._damaged.add(step)
                log.warning("checkpoint %s cannot be restored, passed over: %s", damaged, first_line(error))
                continue
            average = None if like.average is None else restored["weights"]
            trained = restored["weights" if average is None else "trained"]
            placed_step = sharding.place(np.int32(step), like.step.sharding)
            return TrainState(placed_step, **trained, opt_state=restored["optimizer"], average=average)
        return None


def load_weights(path: AnyPath) -> tuple[dict[str, Any], Card]:
    """Variables and card of a checkpoint directory, or of a workdir's best checkpoint, else its last.

    Raises:
      WeightsError: `path` holds no checkpoint; the message says what was looked for.
    """
    path = _absolute(path)
    if (path / "weights").is_dir() and path.name.isdigit():
        return _read(path)
    for folder in (path / "checkpoints" / "best", path / "checkpoints" / "last", path):
        entries = folder.iterdir() if folder.is_dir() else ()
        steps = [int(entry.name) for entry in entries if entry.name.isdigit() and _is_whole(entry)]
        if steps:
            return _read(folder / str(max(steps)))
    raise WeightsError(f"no checkpoint in {path}: looked for checkpoints/best/STEP, checkpoints/last/STEP and STEP")


def save_weights(path: AnyPath, variables: Mapping[str, Any], card: Card) -> None:
    """Writes variables and card to the checkpoint directory `path`, as step 0.

    Raises:
      WeightsError: `path` already exists and is not an empty directory.
    """
    check_new(path)
    with _manager(_absolute(path), 1) as manager:
        manager.save(0, args=_composite({"weights": dict(variables)}, card=asdict(card)))


def check_new(path: AnyPath) -> None:
    """Raises WeightsError where `path` already exists and is not an empty directory."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise WeightsError(f"{path} exists and is not empty: choose another name for the checkpoint")


def _read(folder: AnyPath) -> tuple[dict[str, Any], Card]:
    """Reads one checkpoint's weights into host memory; the devices that wrote it are not needed."""
    if not _is_whole(folder):
        raise WeightsError(f"checkpoint {folder} is incomplete: its save was cut short")
    try:
        arrays, json = ocp.StandardCheckpointHandler(), ocp.JsonCheckpointHandler()
        stored = arrays.metadata(folder / "weights")
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), dict(getattr(stored, "tree", stored)))
        weights = arrays.restore(folder / "weights", args=ocp.args.StandardRestore(like))
        weights.setdefault("batch_stats", {})  # orbax does not keep empty dicts, as of a backbone without BatchNorm
        return weights, Card(**json.restore(folder / "card"))
    except Exception as error:  # orbax raises many kinds of error for a damaged file
        raise WeightsError(f"checkpoint {folder} cannot be read: {first_line(error)}") from error


def _is_whole(folder: AnyPath) -> bool:
    return ocp.utils.is_checkpoint_finalized(folder)


def _absolute(path: AnyPath) -> AnyPath:
    return path.absolute() if isinstance(path, Path) else path  # epath would put the working directory before a bucket


@contextmanager
def _writing(manager: ocp.CheckpointManager) -> Iterator[None]:
    """Turns what fails inside, or failed in the save in progress, into a CheckpointError."""
    try:
        yield
    except Exception as error:  # two libraries wrap the file system's error in their own
        reason = next((strerror for strerror in map(os.strerror, DISK_ERRORS) if strerror in str(error)), first_line(error))
        complete = ", ".join(map(str, sorted(manager.all_steps(read=True)))) or "none"
        raise CheckpointError(
            f"a checkpoint could not be written to {manager.directory}: {reason}. Complete ones from before: {complete}. "
            "Make room and run the same command again"
        ) from None


def _manager(folder: AnyPath, keep: int) -> ocp.CheckpointManager:
    arrays = {name: ocp.StandardCheckpointHandler() for name in ("weights", "optimizer", "trained")}
    json = {name: ocp.JsonCheckpointHandler() for name in ("card", "config", "metrics")}
    options = ocp.CheckpointManagerOptions(max_to_keep=keep)
    return ocp.CheckpointManager(folder, item_handlers=arrays | json, options=options)


def _composite(arrays: Mapping[str, Any], **json: Any) -> ocp.args.Composite:
    items = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
    return ocp.args.Composite(**items, **{name: ocp.args.JsonSave(value) for name, value in json.items()})


def _restore_json(manager: ocp.CheckpointManager, step: int, name: str) -> dict[str, Any]:
    return manager.restore(step, args=ocp.args.Composite(**{name: ocp.args.JsonRestore()}))[name]


def _arrays(state: TrainState) -> dict[str, Any]:
    """The parts of a state by the names they are saved under."""
    arrays = {"weights": state.variables, "optimizer": state.opt_state}
    return arrays if state.average is None else {**arrays, "trained": state.trained}


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)
