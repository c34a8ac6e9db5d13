"""Reading ahead with threads gives the same values as a plain loop, in the same order."""

import itertools
import threading
import time
from itertools import islice

import pytest

from lfm_jax.data.prefetch import MAX_PIECE, read_ahead, read_stream


@pytest.mark.parametrize("count", [0, 1, 7, 64, 1001])
@pytest.mark.parametrize(("threads", "ahead"), [(0, 0), (1, 0), (1, 5), (3, 100), (8, 1000)])
def test_every_value_once_in_order(count, threads, ahead):
    assert list(read_ahead(lambda i: i * i, count, threads=threads, ahead=ahead)) == [i * i for i in range(count)]


@pytest.mark.parametrize("ahead", [0, 4, 100])
def test_an_error_is_raised_where_its_value_would_have_come_give_or_take_a_piece(ahead):
    def read(i: int) -> int:
        if i == 20:
            raise ValueError("number 20")
        return i

    values = read_ahead(read, 40, threads=1, ahead=ahead)
    assert list(islice(values, 12)) == list(range(12))
    with pytest.raises(ValueError, match="number 20"):
        list(values)


@pytest.mark.parametrize(("threads", "ahead"), [(1, 10), (2, 64), (4, 300)])
def test_no_more_is_read_ahead_than_asked_for(threads, ahead):
    seen: list[int] = []
    values = read_ahead(seen.append, 10_000, threads=threads, ahead=ahead)
    next(values)
    time.sleep(0.3)  # for the threads to get as far as they may
    assert len(seen) <= ahead + 2 * MAX_PIECE  # the piece in use, and one just begun


@pytest.mark.parametrize("count", [0, 1, 7, 300])
@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (1, 5), (3, 100)])
def test_a_stream_gives_every_value_once_in_order(count, threads, ahead):
    assert list(read_stream(lambda i: i * i, iter(range(count)), threads=threads, ahead=ahead)) == [i * i for i in range(count)]


def test_an_endless_stream_is_taken_no_further_than_asked_for_and_by_the_callers_thread():
    taken: list[threading.Thread] = []

    def endless():
        for i in itertools.count():
            taken.append(threading.current_thread())
            yield i

    values = read_stream(str, endless(), threads=4, ahead=10)
    assert list(islice(values, 5)) == ["0", "1", "2", "3", "4"]
    values.close()
    assert len(taken) == 5 + 10 and set(taken) == {threading.current_thread()}


def test_an_error_in_a_stream_is_raised_in_its_place():
    values = read_stream(lambda i: 1 // (i - 3), range(10), threads=2, ahead=6)
    assert len(list(islice(values, 3))) == 3
    with pytest.raises(ZeroDivisionError):
        next(values)
