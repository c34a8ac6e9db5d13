"""On a CPU, the memory that a training step has taken is kept for the next one, in large pages.

The arrays of a step take hundreds of megabytes. Left to itself, glibc returns each of them to the system when it is freed, and
the system clears every page of 4 KiB again when the next step first writes to it. That was a third of the CPU time of a step
in bfloat16. So everything is taken from one heap, which is never made smaller.

It has to be done before jax is loaded, as each of its threads would have a heap of its own; and only for a command that owns
its process, as it holds for all that the process does.
"""

import ctypes
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from importlib.util import find_spec

# Of glibc's malloc.h, and what they are set to.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
NEVER, NONE, ONE = -1, 0, 1
LARGE_PAGES, PAGE = 14, 1 << 21  # MADV_HUGEPAGE of mman.h, and bytes
MOST = 8 << 30  # bytes of addresses to ask large pages for; they take memory only once they are used


def keep(env: Mapping[str, str]) -> bool:
    """Keep freed memory from now on; returns whether that was done.

    It is not done where networks run on an accelerator, so that threads which read images do not wait for each other; where
    `env` has settings of an allocator already; or with another C library than glibc.
    """
    if not _only_a_cpu(env) or any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in env):
        return False
    with suppress(AttributeError, OSError, TypeError):  # other C libraries
        libc = ctypes.CDLL(None)
        if all(libc.mallopt(*setting) for setting in ((ARENA_MAX, ONE), (MMAP_MAX, NONE), (TRIM_THRESHOLD, NEVER))):
            _ask_for_large_pages(libc)
            return True
    return False


def _ask_for_large_pages(libc: ctypes.CDLL) -> None:
    """For what the heap will grow into: it is made large once, advised, and stays large when that is freed."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = min(MOST, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    start = libc.malloc(size)
    if start is None:  # a limit on addresses
        return
    first, end = -(-start // PAGE) * PAGE, (start + size) // PAGE * PAGE
    libc.madvise(first, end - first, LARGE_PAGES)  # a system without them says no, and nothing is lost
    libc.free(start)


def _only_a_cpu(env: Mapping[str, str]) -> bool:
    """Whether jax can run on nothing else, as far as is known before it is loaded."""
    if platforms := env.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    return find_spec("libtpu") is None and not entry_points(group="jax_plugins")
