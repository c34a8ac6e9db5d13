"""How many files this process may hold open at a time."""

import contextlib
import errno
import resource

SPARE = 256  # for libraries, logs and sockets
ENOUGH = 1 << 20


def allow_open_files(count: int) -> None:
    """Raises the soft limit on open files, often 1,024, towards the hard one, so that `count` more can be open for good.

    Several calls add up, as the soft limit goes as high as it may.

    Raises:
      OSError: the hard limit is too low for that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if count + SPARE > soft != resource.RLIM_INFINITY:
        with contextlib.suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if count + SPARE > soft != resource.RLIM_INFINITY:
        raise OSError(errno.EMFILE, f"it has {count} files, and a process may open {soft} here: raise ulimit -n to {count + SPARE}")
