"""Compiled programs, kept in a folder of this user's, so that a command's second start need not compile.

In: the environment of the `lfm` command. Out: jax's own variables in it, set before jax is loaded; nothing where the
user has set them, or where no folder can be written. jax's keys hold the program, its version and the machine's
instruction set, so what another machine or version left in a shared home is not used.
"""

import contextlib
import os
from collections.abc import MutableMapping
from pathlib import Path

FOLDER, ENABLE = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
MAX_BYTES = 1 << 30
# jax's own limits would leave out whatever compiles within a second, as much of LFM does on a CPU.
WORTH_KEEPING = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


def turn_on(env: MutableMapping[str, str]) -> None:
    """Have jax keep programs in XDG_CACHE_HOME/lfm_jax, unless `env` names a folder or ENABLE is there to say no."""
    if FOLDER in env or ENABLE in env:
        return
    try:
        folder = _folder(env)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # nowhere to write, or no home
        return
    if os.access(folder, os.W_OK | os.X_OK):
        _forget_oldest(folder, MAX_BYTES)
        env.update({FOLDER: str(folder), **WORTH_KEEPING})


def turn_off_ours(env: MutableMapping[str, str]) -> None:
    """For one of several processes, before it compiles: a folder that the user named stays.

    GPU processes that compile together tune kernels together: one that finds its program would leave the rest waiting.
    """
    import jax

    if env.get(FOLDER) == str(_folder(env)):
        jax.config.update("jax_compilation_cache_dir", None)


def _folder(env: MutableMapping[str, str]) -> Path:
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lfm_jax"


def _forget_oldest(folder: Path, limit: int) -> None:
    """jax can keep its folder small itself, but locks all of it at each look, and never writes again after a kill in between."""
    with contextlib.suppress(OSError):  # another process is at it, too
        found = sorted(((path.stat(), path) for path in folder.rglob("*") if path.is_file()), key=lambda pair: pair[0].st_mtime)
        too_much = sum(status.st_size for status, _ in found) - limit
        for status, path in found:
            if too_much <= 0:
                return
            path.unlink()
            too_much -= status.st_size
