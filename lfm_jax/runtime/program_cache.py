"""Compiled programs are kept in a folder of the user, so that a command compiles only the first time it runs.

This sets jax's own environment variables before jax is loaded, unless the user has set them or the folder cannot be
written. jax identifies an entry by the program, its own version and the machine's instruction set, so entries that
another machine or version left in a shared home directory are not used.
"""

import contextlib
import os
from collections.abc import MutableMapping
from pathlib import Path

FOLDER, ENABLE = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
MAX_BYTES = 1 << 30
# With jax's defaults whatever compiles within a second, as much of LFM does on a CPU, would not be kept.
WORTH_KEEPING = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}

# Of our own rules for the partitioner, jax would keep addresses, which differ in every process; see ops.partitioned.
WITHOUT_ADDRESSES = "JAX_REMOVE_CUSTOM_PARTITIONING_PTR_FROM_CACHE_KEY"


def turn_on(env: MutableMapping[str, str]) -> None:
    """Let jax keep programs in XDG_CACHE_HOME/lfm_jax, unless `env` names a folder already or turns the cache off."""
    env.setdefault(WITHOUT_ADDRESSES, "true")
    if FOLDER in env or ENABLE in env:
        return
    try:
        folder = _folder(env)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # nowhere to write, or no home directory
        return
    if os.access(folder, os.W_OK | os.X_OK):
        _forget_oldest(folder, MAX_BYTES)
        env.update({FOLDER: str(folder), **WORTH_KEEPING})


def turn_off_ours(env: MutableMapping[str, str]) -> None:
    """Stop using our folder, for one of several processes and before it compiles; a folder named by the user stays.

    GPU processes that compile together tune kernels together: one that finds its program would keep the others waiting.
    """
    import jax

    if env.get(FOLDER) == str(_folder(env)):
        jax.config.update("jax_compilation_cache_dir", None)


def _folder(env: MutableMapping[str, str]) -> Path:
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lfm_jax"


def _forget_oldest(folder: Path, limit: int) -> None:
    """Delete the oldest programs until the folder is no larger than `limit` bytes.

    jax could do this itself, but it locks the whole folder at every access and never writes again once killed in between.
    """
    with contextlib.suppress(OSError):  # another process may be deleting too
        files = sorted(((path.stat(), path) for path in folder.rglob("*") if path.is_file()), key=lambda pair: pair[0].st_mtime)
        excess = sum(status.st_size for status, _ in files) - limit
        for status, path in files:
            if excess <= 0:
                return
            path.unlink()
            excess -= status.st_size
