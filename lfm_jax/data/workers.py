"""Values computed ahead by worker processes, through Grain, in the order that one thread would give.

Decoding holds Python's global lock for a part of its time, so the threads of one process stop gaining at some number of cores.
"""

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from absl import flags

from lfm_jax.runtime.registry import import_parts, imported

T = TypeVar("T")
SECONDS_BETWEEN_LOOKS = 1.0  # for the parent process


def read_in_workers(read: Callable[[int], T], count: int, *, workers: int, threads: int, ahead: int) -> Iterator[T]:
    """Yields read(0), ..., read(count - 1), about `ahead` of them computed before they are asked for.

    Args:
      read: is pickled, and called in the workers. An exception that it raises is raised here, in its place.
      workers: processes; worker w computes the values w, w + `workers` and so on.
      threads: of all workers together, at least one each.
    """
    import grain  # here, as it takes a second to load

    _settle_flags()
    own_threads = max(threads // workers, 1)
    ahead_of_each = max(-(-ahead // workers), 1)
    options = grain.ReadOptions(num_threads=own_threads, prefetch_buffer_size=max(own_threads, ahead_of_each))
    values = (
        grain.MapDataset.range(count)
        .map(read)
        .to_iter_dataset(options)
        .mp_prefetch(
            grain.MultiprocessingOptions(workers, per_worker_buffer_size=1),
            worker_init_fn=functools.partial(_begin_worker, os.getpid(), imported()),
        )
    )
    iterator = iter(values)
    try:
        yield from iterator
    finally:
        iterator.close()


def _settle_flags() -> None:
    """Grain has flags of absl, and reads them where it starts processes. Ours are not absl's, so nobody has parsed any."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _begin_worker(parent: int, imports: Sequence[str], _index: int, _count: int) -> None:
    """Leaves signals to the parent, which ends its workers when it has saved, and ends with a parent that was killed."""
    _settle_flags()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    for path in imports:
        import_parts(path)
