"""Checkpoints: the last ones to resume from, and the best one on the validation set to use. The only module that uses orbax.

    WORKDIR/checkpoints/last/STEP    weights, optimizer, card, config; where the weights are a moving average, also what is trained
    WORKDIR/checkpoints/best/STEP    weights, card and validation metrics
    WORKDIR/checkpoints/set_aside-*  damaged or left-over ones that were in the way of the run

Each explains itself and can be restored on any devices. Saves are asynchronous. A checkpoint appears by rename, in a bucket by
a marker that is written last, so a killed run leaves only complete ones. Each holds the sha256 of all its parts, which every
load compares: bits that changed on the disk are noticed.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lfm_jax.errors import CheckpointError, WeightsError, first_line
from lfm_jax.runtime import sharding
from lfm_jax.runtime.distributed import gather, is_main
from lfm_jax.runtime.storage import AnyPath
from lfm_jax.weights.card import Card, content_hash
from lfm_jax.weights.damage import DamagedError, move_aside, reading, set_aside_without_metrics
from lfm_jax.weights.integrity import check_hashes, implausible, json_hash, tree_hash
from lfm_jax.weights.state import TrainState

# What to do about errors of the disk, whose own words are looked for, as two libraries wrap them in their own.
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room and run the same command again"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "Make the folder writable and run the same command again"),
}
UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of folders that a save in progress writes to


class Checkpoints:
    """The checkpoints of one workdir. Use it as a context manager: leaving it waits for saves in progress."""

    def __init__(self, workdir: AnyPath, *, keep: int):
        folder = _absolute(workdir) / "checkpoints"
        set_aside_without_metrics(folder / "best")
        self._last = _manager(folder / "last", keep)
        self._best = _manager(folder / "best", 1)

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
            check_hashes(_stored_hashes(_folder(self._best, step)), {"metrics": json_hash(metrics)})
            return metrics

    def best_weights(self) -> tuple[Any, Card]:
        """Variables and card of the best checkpoint."""
        self.wait()
        return _read(_folder(self._best, self._best.latest_step()))

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
            hashes = _stored_hashes(folder)
            check_hashes(hashes, {"config": json_hash(config), "card": json_hash(card)})
            check_saved(config, card)
            targets = {name: ocp.args.StandardRestore(_abstract(tree)) for name, tree in _arrays(like).items()}
            restored = self._last.restore(step, args=ocp.args.Composite(**targets))
            check_hashes(hashes, {name: tree_hash(tree) for name, tree in _on_host(restored, list(targets)).items()})
            _require_plausible({name: restored[name] for name in targets})
        average = None if like.average is None else restored["weights"]
        trained = restored["weights" if average is None else "trained"]
        placed_step = sharding.place(np.int32(step), like.step.sharding)
        return TrainState(placed_step, **trained, opt_state=restored["optimizer"], average=average)

    def _save(self, manager: ocp.CheckpointManager, step: int, arrays: Mapping[str, Any], card: Card, **others: Any) -> None:
        self.wait()  # for the other one: orbax names its barriers by the step alone, and processes would mix up two saves at once
        items = _proven(arrays, card, f"step {step}", **others)
        with _writing(manager):
            if not manager.save(step, args=items):
                raise RuntimeError(f"orbax saves no step {step} beside step {manager.latest_step()}")

    def _set_aside_damaged_best(self) -> None:
        step = self._best.latest_step()
        if step is None:
            return
        fault = ""
        try:
            _read(_folder(self._best, step))
            self.best_metrics()
        except DamagedError as error:
            fault = str(error)
        if any(gather(fault)):
            self._set_aside(self._best, [step], fault or "the best checkpoint is damaged")

    def _set_aside(self, manager: ocp.CheckpointManager, steps: list[int], reason: str) -> None:
        """Moves checkpoints to WORKDIR/checkpoints/set_aside-{last,best}-STEP, and says why."""
        if not steps:
            return
        with _writing(manager):
            for step in steps if is_main() else ():
                move_aside(_folder(manager, step), reason)
            gather(None)  # wait for the renames
            manager.reload()


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
    path = _absolute(path)
    items = _proven({"weights": dict(variables)}, card, "the weights")
    for entry in path.iterdir() if path.is_dir() else ():
        shutil.rmtree(entry) if isinstance(entry, Path) else entry.rmtree()  # left by a save that was cut short
    with _manager(path, 1) as manager, _writing(manager):
        manager.save(0, args=items)
        manager.wait_until_finished()


def check_new(path: AnyPath) -> None:
    """Raises WeightsError where `path` already exists, unless it is empty or holds only what a save cut short has left."""
    if path.exists() and (not path.is_dir() or any(UNFINISHED not in entry.name for entry in path.iterdir())):
        raise WeightsError(f"{path} exists and is not empty: choose another name for the checkpoint")


def _read(folder: AnyPath) -> tuple[dict[str, Any], Card]:
    """Reads one checkpoint's weights into host memory; the devices that wrote it are not needed."""
    if not _is_whole(folder):
        raise WeightsError(f"checkpoint {folder} is incomplete: its save was cut short")
    with reading(folder):
        arrays = ocp.StandardCheckpointHandler()
        stored = arrays.metadata(folder / "weights")
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), dict(getattr(stored, "tree", stored)))
        weights = arrays.restore(folder / "weights", args=ocp.args.StandardRestore(like))
        card = ocp.JsonCheckpointHandler().restore(folder / "card")
        check_hashes(_stored_hashes(folder), {"weights": tree_hash(weights), "card": json_hash(card)})
        _require_plausible({"weights": weights})
        weights.setdefault("batch_stats", {})  # orbax does not keep empty dicts, as of a backbone without BatchNorm
        return weights, Card.from_values(card)


def _stored_hashes(folder: AnyPath) -> dict[str, str]:
    """The sha256 of each part; {} in a checkpoint from before they were stored."""
    return ocp.JsonCheckpointHandler().restore(folder / "hashes") if (folder / "hashes").is_dir() else {}


def _proven(arrays: Mapping[str, Any], card: Card, what: str, **others: Any) -> ocp.args.Composite:
    """What to save, with the hashes of all of it. Raises FloatingPointError for values that are not finite."""
    host = _on_host(arrays, list(arrays))
    if faults := implausible(host):
        raise FloatingPointError(f"{what}: {faults[0]}, so it was not saved; checkpoints from before it are untouched")
    values = {"card": replace(card, weights_sha256=content_hash(host["weights"])).to_values(), **others}
    hashes = {name: tree_hash(tree) for name, tree in host.items()} | {name: json_hash(value) for name, value in values.items()}
    return _composite(arrays, hashes=hashes, **values)


def _require_plausible(arrays: Mapping[str, Any]) -> None:
    if faults := implausible(sharding.to_host(arrays)):
        raise ValueError("; ".join(faults))


def _on_host(arrays: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: sharding.to_host(arrays[name]) for name in names}


def _is_whole(folder: AnyPath) -> bool:
    return ocp.utils.is_checkpoint_finalized(folder)


def _absolute(path: AnyPath) -> AnyPath:
    return path.absolute() if isinstance(path, Path) else path  # epath would put the working directory before a bucket


def _folder(manager: ocp.CheckpointManager, step: int | None) -> AnyPath:
    return manager.directory / str(step)


@contextmanager
def _writing(manager: ocp.CheckpointManager) -> Iterator[None]:
    """Turns what fails inside, or failed in the save in progress, into a CheckpointError."""
    try:
        yield
    except Exception as error:
        code = next((code for code in ADVICE if os.strerror(code) in str(error)), None)
        reason = first_line(error) if code is None else os.strerror(code)
        complete = ", ".join(map(str, sorted(manager.all_steps(read=True)))) or "none"
        raise CheckpointError(
            f"a checkpoint could not be written to {manager.directory}: {reason}. Complete ones from before: {complete}. "
            f"{'Run the same command again' if code is None else ADVICE[code]}"
        ) from None


def _manager(folder: AnyPath, keep: int) -> ocp.CheckpointManager:
    arrays = {name: ocp.StandardCheckpointHandler() for name in ("weights", "optimizer", "trained")}
    values = {name: ocp.JsonCheckpointHandler() for name in ("card", "config", "metrics", "hashes")}
    options = ocp.CheckpointManagerOptions(max_to_keep=keep)
    return ocp.CheckpointManager(folder, item_handlers=arrays | values, options=options)


def _composite(arrays: Mapping[str, Any], **values: Any) -> ocp.args.Composite:
    items = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
    return ocp.args.Composite(**items, **{name: ocp.args.JsonSave(value) for name, value in values.items()})


def _restore_json(manager: ocp.CheckpointManager, step: int, name: str) -> dict[str, Any]:
    return manager.restore(step, args=ocp.args.Composite(**{name: ocp.args.JsonRestore()}))[name]


def _arrays(state: TrainState) -> dict[str, Any]:
    """The parts of a state by the names they are saved under."""
    arrays = {"weights": state.variables, "optimizer": state.opt_state}
    return arrays if state.average is None else {**arrays, "trained": state.trained}


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)
