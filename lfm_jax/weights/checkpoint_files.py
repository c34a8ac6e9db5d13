"""One checkpoint in its folder: what it holds and proves, written or read whole. Only this module and `checkpoint` use orbax."""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lfm_jax.errors import CheckpointError, WeightsError, first_line
from lfm_jax.runtime import sharding
from lfm_jax.runtime.storage import AnyPath
from lfm_jax.weights.card import Card, content_hash
from lfm_jax.weights.damage import reading
from lfm_jax.weights.integrity import check_hashes, implausible, json_hash, tree_hash

# What to do about errors of the disk, whose own words are looked for, as two libraries wrap them in their own.
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room and run the same command again"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "Make the folder writable and run the same command again"),
}
UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of folders that a save in progress writes to


def load_weights(path: AnyPath) -> tuple[dict[str, Any], Card]:
    """Variables and card of a checkpoint directory, or of a workdir's best checkpoint, else its last.

    Raises:
      WeightsError: `path` holds no checkpoint; the message says what was looked for.
    """
    path = absolute(path)
    if (path / "weights").is_dir() and path.name.isdigit():
        return read_weights(path)
    for folder in (path / "checkpoints" / "best", path / "checkpoints" / "last", path):
        entries = folder.iterdir() if folder.is_dir() else ()
        steps = [int(entry.name) for entry in entries if entry.name.isdigit() and _is_whole(entry)]
        if steps:
            return read_weights(folder / str(max(steps)))
    raise WeightsError(f"no checkpoint in {path}: looked for checkpoints/best/STEP, checkpoints/last/STEP and STEP")


def save_weights(path: AnyPath, variables: Mapping[str, Any], card: Card) -> None:
    """Writes variables and card to the checkpoint directory `path`, as step 0.

    Raises:
      WeightsError: `path` already exists and is not an empty directory.
    """
    check_new(path)
    path = absolute(path)
    items = proven({"weights": dict(variables)}, card, "the weights")
    for entry in path.iterdir() if path.is_dir() else ():
        shutil.rmtree(entry) if isinstance(entry, Path) else entry.rmtree()  # left by a save that was cut short
    with new_manager(path, 1) as manager, writing(manager):
        manager.save(0, args=items)
        manager.wait_until_finished()


def check_new(path: AnyPath) -> None:
    """Raises WeightsError where `path` already exists, unless it is empty or holds only what a save cut short has left."""
    if path.exists() and (not path.is_dir() or any(UNFINISHED not in entry.name for entry in path.iterdir())):
        raise WeightsError(f"{path} exists and is not empty: choose another name for the checkpoint")


def read_weights(folder: AnyPath) -> tuple[dict[str, Any], Card]:
    """Reads one checkpoint's weights into host memory; the devices that wrote it are not needed."""
    if not _is_whole(folder):
        raise WeightsError(f"checkpoint {folder} is incomplete: its save was cut short")
    with reading(folder):
        arrays = ocp.StandardCheckpointHandler()
        stored = arrays.metadata(folder / "weights")
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), dict(getattr(stored, "tree", stored)))
        weights = arrays.restore(folder / "weights", args=ocp.args.StandardRestore(like))
        card = ocp.JsonCheckpointHandler().restore(folder / "card")
        check_hashes(stored_hashes(folder), {"weights": tree_hash(weights), "card": json_hash(card)})
        require_plausible({"weights": weights})
        weights.setdefault("batch_stats", {})  # orbax does not keep empty dicts, as of a backbone without BatchNorm
        return weights, Card.from_values(card)


def stored_hashes(folder: AnyPath) -> dict[str, str]:
    """The sha256 of each part; {} in a checkpoint from before they were stored."""
    return ocp.JsonCheckpointHandler().restore(folder / "hashes") if (folder / "hashes").is_dir() else {}


def proven(arrays: Mapping[str, Any], card: Card, what: str, **others: Any) -> ocp.args.Composite:
    """What to save, with the hashes of all of it. Raises FloatingPointError for values that are not finite."""
    host = on_host(arrays, list(arrays))
    if faults := implausible(host):
        raise FloatingPointError(f"{what}: {faults[0]}, so it was not saved; checkpoints from before it are untouched")
    values = {"card": replace(card, weights_sha256=content_hash(host["weights"])).to_values(), **others}
    hashes = {name: tree_hash(tree) for name, tree in host.items()} | {name: json_hash(value) for name, value in values.items()}
    return _composite(arrays, hashes=hashes, **values)


def require_plausible(arrays: Mapping[str, Any]) -> None:
    if faults := implausible(sharding.to_host(arrays)):
        raise ValueError("; ".join(faults))


def on_host(arrays: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: sharding.to_host(arrays[name]) for name in names}


def _is_whole(folder: AnyPath) -> bool:
    return ocp.utils.is_checkpoint_finalized(folder)


def absolute(path: AnyPath) -> AnyPath:
    return path.absolute() if isinstance(path, Path) else path  # epath would put the working directory before a bucket


@contextmanager
def writing(manager: ocp.CheckpointManager) -> Iterator[None]:
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


def new_manager(folder: AnyPath, keep: int) -> ocp.CheckpointManager:
    arrays = {name: ocp.StandardCheckpointHandler() for name in ("weights", "optimizer", "trained")}
    values = {name: ocp.JsonCheckpointHandler() for name in ("card", "config", "metrics", "hashes")}
    options = ocp.CheckpointManagerOptions(max_to_keep=keep)
    return ocp.CheckpointManager(folder, item_handlers=arrays | values, options=options)


def _composite(arrays: Mapping[str, Any], **values: Any) -> ocp.args.Composite:
    items = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
    return ocp.args.Composite(**items, **{name: ocp.args.JsonSave(value) for name, value in values.items()})
