"""Values computed ahead of their use by threads, given out in order. Training, scoring and preparing all read this way.

How far ahead is limited by number, and for large images by the bytes of the process's budget, in which a value counts until
the caller asks for the next.
"""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lfm_jax.data.budget import Reader, size_of

S = TypeVar("S")
T = TypeVar("T")
MAX_PIECE = 8  # values computed in one go
MAX_BYTES_AHEAD = 1 << 28  # of items that were read and not decoded, such as the files in an archive


def read_ahead(read: Callable[[int], T], count: int, *, threads: int, ahead: int) -> Iterator[T]:
    """Yields read(0), ..., read(count - 1), about `ahead` of them computed or being computed before they are asked for.

    With `threads` or `ahead` 0 nothing is computed early. An exception of `read` is raised in its place in the order.
    """
    import grain  # here, as it takes a second to load

    # In pieces: for each element, grain looks at all that it has read ahead, and with hundreds that takes as long as
    # decoding a small image. Small pieces, so that all threads work on the first values and these come soon.
    piece = min(max(ahead // (8 * max(threads, 1)), 1), MAX_PIECE)
    count_pieces = -(-count // piece)
    reader = Reader()

    def numbers(piece_number: int) -> range:
        return range(piece_number * piece, min((piece_number + 1) * piece, count))

    def read_piece(piece_number: int) -> list[T]:
        return [reader.read(number, functools.partial(read, number)) for number in numbers(piece_number)]

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=-(-ahead // piece))
    pieces = iter(grain.MapDataset.range(count_pieces).map(read_piece).to_iter_dataset(options))
    try:
        for piece_number in range(count_pieces):
            reader.wait_for(numbers(piece_number)[-1])
            for number, value in zip(numbers(piece_number), next(pieces), strict=True):
                yield value
                reader.taken(number)
    finally:
        reader.close()


def read_stream(read: Callable[[S], T], items: Iterable[S], *, threads: int, ahead: int) -> Iterator[T]:
    """Yields read(item) for each of `items`, which may be endless, about `ahead` of them computed before they are asked for.

    Fewer are where the items hold more than MAX_BYTES_AHEAD. The caller's own thread iterates over `items`. An exception of
    `read` is raised in its place in the order.
    """
    under_way: collections.deque[tuple[int, int, Future[T]]] = collections.deque()  # number, bytes of the item, value
    reader, held = Reader(), 0

    def next_value() -> Iterator[T]:
        number, _, future = under_way.popleft()
        reader.wait_for(number)
        yield future.result()
        reader.taken(number)

    with ThreadPoolExecutor(threads) as pool:
        try:
            for number, item in enumerate(items):
                under_way.append((number, size_of(item), pool.submit(reader.read, number, functools.partial(read, item))))
                held += under_way[-1][1]
                del item  # a file of an archive may be large
                while len(under_way) > ahead or held > MAX_BYTES_AHEAD:
                    held -= under_way[0][1]
                    yield from next_value()
            while under_way:
                yield from next_value()
        finally:
            reader.close()
            for _, _, unread in under_way:  # the caller has stopped early
                unread.cancel()
