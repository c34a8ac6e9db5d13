"""How much memory a program may take here, as far as the system tells."""

import functools
import os
import resource
from contextlib import suppress
from pathlib import Path

import jax

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # versions 2 and 1


@functools.cache
def memory_limit() -> int:
    """Bytes of the device that networks run on: an accelerator's own, or what this process may take of the machine's.

    It does not change while a program runs, so that what is refused for its size does not depend on what else is running.
    """
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(path).read_text()))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min(limits + ([soft] if soft != resource.RLIM_INFINITY else []))
