"""Values computed ahead of their use by threads, given out in order. Training, scoring and preparing all read this way."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
MAX_PIECE = 8  # values computed in one go


def read_ahead(read: Callable[[int], T], count: int, *, threads: int, ahead: int) -> Iterator[T]:
    """Yields read(0), ..., read(count - 1), about `ahead` of them computed or being computed before they are asked for.

    With `threads` or `ahead` 0 nothing is computed early. An exception of `read` is raised in its place in the order.
    """
    import grain  # here, as it takes a second to load

    # In pieces: for each element, grain looks at all that it has read ahead, and with hundreds that takes as long as
    # decoding a small image. Small pieces, so that all threads work on the first values and these come soon.
    piece = min(max(ahead // (8 * max(threads, 1)), 1), MAX_PIECE)
    pieces = grain.MapDataset.range(-(-count // piece)).map(
        lambda number: [read(i) for i in range(number * piece, min((number + 1) * piece, count))]
    )
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=-(-ahead // piece))
    return itertools.chain.from_iterable(pieces.to_iter_dataset(options))


def read_stream(read: Callable[[S], T], items: Iterable[S], *, threads: int, ahead: int) -> Iterator[T]:
    """Yields read(item) for each of `items`, which may be endless, about `ahead` of them computed before they are asked for.

    The caller's own thread iterates over `items`. An exception of `read` is raised in its place in the order.
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
            for unread in under_way:  # the caller has stopped early
                unread.cancel()
