"""A function of 0, 1, 2, ..., or of what an iterable gives, computed ahead by threads, its values in order.

In: the function and how far. Out: an iterator. What is read for training, scoring and preparing comes through here.
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
MAX_PIECE = 8


def read_ahead(read: Callable[[int], T], count: int, *, threads: int, ahead: int) -> Iterator[T]:
    """-> read(0), ..., read(count - 1), with about `ahead` of them being read or ready; none ahead where either is 0.

    What `read` raises is raised in its place.
    """
    import grain  # here, as it takes a second to load

    # In pieces: for each element asked of it, grain looks at all that it has ahead, and for hundreds that takes as long
    # as decoding a small image. Small pieces: the first values are to come soon, and from all threads.
    piece = min(max(ahead // (8 * max(threads, 1)), 1), MAX_PIECE)
    pieces = grain.MapDataset.range(-(-count // piece)).map(
        lambda at: [read(i) for i in range(at * piece, min((at + 1) * piece, count))]
    )
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=-(-ahead // piece))
    return itertools.chain.from_iterable(pieces.to_iter_dataset(options))


def read_stream(read: Callable[[S], T], items: Iterable[S], *, threads: int, ahead: int) -> Iterator[T]:
    """-> read(item) for each of `items`, which may be endless; about `ahead` of them being read or ready.

    `items` itself is gone through by the caller's thread. What `read` raises is raised in its place.
    """
    under_way: collections.deque[Future[T]] = collections.deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(read, item))
                if len(under_way) > ahead:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for unread in under_way:  # the caller wants no more
                unread.cancel()
