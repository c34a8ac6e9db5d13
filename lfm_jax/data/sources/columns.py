"""Arrays that say something of every image, in memory or, where they are large, in a file that all worker processes map.

A process that such arrays are sent to would otherwise have copies: 7 GB for the paths of 100 million images.
"""

import contextlib
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

MAPPED_FROM = 1 << 26  # bytes: the paths of a million images, or so
ALIGNED = 64  # bytes, at which every array begins


class Columns:
    """Read-only arrays [N] by name, `columns["name"]`.

    More than MAPPED_FROM bytes lie in a file of the temporary folder (TMPDIR), whose pages the system can drop and read again. It
    is deleted with this object, or at the end of the process that made it. Where it cannot be written they stay in memory.
    """

    def __init__(self, **arrays: np.ndarray):
        self._arrays, self._file = arrays, ""
        if sum(array.nbytes for array in arrays.values()) > MAPPED_FROM:
            with contextlib.suppress(OSError):
                self._move()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def _move(self) -> None:
        number, path = tempfile.mkstemp(prefix="lfm_jax_columns_")
        deleted = weakref.finalize(self, _delete, path, os.getpid())
        try:
            with os.fdopen(number, "wb") as file:
                for array in self._arrays.values():
                    file.write(bytes(-file.tell() % ALIGNED))
                    array.tofile(file)
        except OSError:
            deleted()
            raise
        self._file, self._arrays = path, _mapped(path, self._kinds())

    def _kinds(self) -> dict[str, tuple[str, int]]:
        return {name: (array.dtype.str, len(array)) for name, array in self._arrays.items()}

    def __getstate__(self) -> tuple[str, Any]:
        return (self._file, self._kinds()) if self._file else ("", self._arrays)

    def __setstate__(self, state: tuple[str, Any]) -> None:
        self._file, what = state
        self._arrays = _mapped(self._file, what) if self._file else what


def _mapped(path: str, kinds: dict[str, tuple[str, int]]) -> dict[str, np.ndarray]:
    data, start, arrays = np.memmap(path, mode="r").view(np.ndarray), 0, {}
    for name, (kind, length) in kinds.items():
        start += -start % ALIGNED
        end = start + length * np.dtype(kind).itemsize
        arrays[name], start = data[start:end].view(kind), end
    return arrays


def _delete(path: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked
        Path(path).unlink(missing_ok=True)
