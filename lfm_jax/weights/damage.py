"""Damage of checkpoints: told from files that cannot be read, and moved out of the way of a run.

A checkpoint counts as damaged only where every one of its files can be read; a storage that is away proves nothing.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lfm_jax.errors import UserError, WeightsError, first_line
from lfm_jax.runtime.distributed import is_main
from lfm_jax.runtime.exchange import wait_for_all
from lfm_jax.runtime.progress import say
from lfm_jax.runtime.storage import AnyPath

SET_ASIDE = "set_aside"


class DamagedError(WeightsError):
    """A checkpoint's files can all be read, and do not hold what was written."""


@contextmanager
def reading(folder: AnyPath) -> Iterator[None]:
    """Turns the many kinds of error that orbax raises into DamagedError where every file can be read, else into WeightsError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if reason := _cannot_be_read(folder, error):
            raise WeightsError(f"checkpoint {folder} cannot be read, which does not mean that it is damaged: {reason}") from error
        reason = first_line(error).split(" [tensorstore_spec=")[0]  # which is a page long
        raise DamagedError(f"checkpoint {folder} is damaged: {reason}") from error


def _cannot_be_read(folder: AnyPath, error: Exception) -> str:
    """Why the files of a checkpoint cannot be read, "" where all of them can be."""
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return first_line(error)
    try:
        for file in _files(folder):
            file.read_bytes()
    except Exception as failure:  # the libraries for buckets have their own errors
        return first_line(failure)
    return ""


def set_aside_without_metrics(folder: AnyPath) -> None:
    """Moves checkpoints whose metrics are no JSON out of the way: orbax parses all of them before anything else."""
    for checkpoint in list(folder.iterdir()) if is_main() and folder.is_dir() else ():
        metrics = checkpoint / "metrics" / "metrics"
        if not checkpoint.name.isdigit() or not metrics.exists():
            continue
        try:
            json.loads(metrics.read_bytes())
        except (ValueError, RecursionError):
            move_aside(checkpoint, f"checkpoint {checkpoint} has damaged metrics")
        except OSError as error:
            raise WeightsError(f"{metrics} cannot be read, which does not mean that it is damaged: {first_line(error)}") from None
    wait_for_all()  # until they are renamed


def move_aside(checkpoint: AnyPath, reason: str) -> None:
    folder = checkpoint.parent.parent
    name = f"{SET_ASIDE}-{checkpoint.parent.name}-{checkpoint.name}"
    taken = sum(entry.name.split(".")[0] == name for entry in folder.iterdir())
    target = folder / (f"{name}.{taken}" if taken else name)
    if isinstance(checkpoint, Path) or "://" not in str(checkpoint):
        checkpoint.rename(target)
    else:  # a bucket has no folders to rename
        for file in _files(checkpoint):
            (target / file.relative_to(checkpoint).as_posix()).write_bytes(file.read_bytes())
        checkpoint.rmtree()
    say(f"warning: {reason}; it is moved to {target}")


def _files(folder: AnyPath) -> list[AnyPath]:
    """All files in a folder and its folders."""
    return [file for entry in folder.iterdir() for file in (_files(entry) if entry.is_dir() else [entry])]
