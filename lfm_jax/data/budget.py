"""One budget in bytes for the pixels that a process has under way: images being decoded, and what was read ahead of its use.

An image waits until it fits. The one that the reader waits for never does, or it would wait for what stands behind it.
"""

import contextvars
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np
from PIL import Image

T = TypeVar("T")
LARGE = 1 << 26  # bytes of one image, from which on it matters whether freed memory goes back to the system
PER_CORE = 1 << 26  # bytes, so that as many photos can be decoded at once as there are cores
SMALL = 1 << 20  # bytes; less is not counted, as it is the number of values read ahead that limits them


@functools.cache
def _give_freed_memory_back() -> None:
    """Has glibc return large blocks to the system once they are freed. Otherwise each thread keeps what its images took."""
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    with suppress(AttributeError, OSError, TypeError):  # other C libraries
        ctypes.CDLL(None).mallopt(mmap_threshold, 8 << 20)


class Budget:
    """Bytes that may be under way at once. An image that costs more than `limit` goes alone."""

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0
        self.changed = threading.Condition()  # its lock may be taken again by the thread that has it

    @contextmanager
    def decoding(self, cost: int) -> Iterator[None]:
        """Counts `cost` bytes until the end of the block; of a value that is read ahead, until it is read."""
        if cost >= LARGE:
            _give_freed_memory_back()
        value = _value_being_read.get()
        if cost < SMALL:
            yield
        elif value:
            reader, number = value
            reader.take(number, cost)
            yield
        else:  # decoded for its own sake, perhaps by a reader between two values: never waits
            self.add(cost)
            try:
                yield
            finally:
                self.add(-cost)

    def add(self, size: int) -> None:
        with self.changed:
            self.used += size
            self.changed.notify_all()


BUDGET = Budget(max(1 << 30, PER_CORE * (os.cpu_count() or 1)))


class Reader:
    """What is read ahead for one reader, who takes the values in the order of their numbers."""

    def __init__(self, budget: Budget = BUDGET):
        self._budget = budget
        self._counted: dict[int, int] = {}  # number of a value: its bytes, from the start of its reading until it is done with
        self._waiting: set[int] = set()
        self._awaited = -1
        self._closed = False

    def read(self, number: int, read: Callable[[], T]) -> T:
        """Reads a value; its decoded images are counted meanwhile, and its own size until it is done with."""
        with self._budget.changed:
            self._counted[number] = 0
        previous = _value_being_read.set((self, number))
        size = 0
        try:
            value = read()
            size = size_of(value)
            return value
        finally:
            _value_being_read.reset(previous)
            self._count(number, size if size >= SMALL else 0)

    def take(self, number: int, cost: int) -> None:
        """Counts `cost` bytes more for a value that is being read, once they fit or the reader waits for it."""
        budget = self._budget

        def may_go() -> bool:
            if self._closed or number <= self._awaited:
                return True
            fits = not budget.used or budget.used + cost <= budget.limit
            return fits and number == min(self._waiting)  # in order, or a later one would be in the way of the next

        with budget.changed:
            self._waiting.add(number)
            budget.changed.wait_for(may_go)
            self._waiting.discard(number)
            budget.changed.notify_all()
            if number in self._counted and not self._closed:  # it is not where a slow file was given up
                self._counted[number] += cost
                budget.used += cost

    def wait_for(self, number: int) -> None:
        """To be called before waiting for this value: it and those before it need not fit."""
        with self._budget.changed:
            self._awaited = number
            self._budget.changed.notify_all()

    def taken(self, number: int) -> None:
        """To be called with a value that whoever asked for it is done with."""
        with self._budget.changed:
            self._count(number, 0)
            self._counted.pop(number, None)

    def close(self) -> None:
        """Gives back all that is counted, and lets what is still being read go on uncounted."""
        with self._budget.changed:
            self._closed = True
            self._budget.used -= sum(self._counted.values())
            self._counted.clear()
            self._budget.changed.notify_all()

    def _count(self, number: int, size: int) -> None:
        with self._budget.changed:
            if number in self._counted and not self._closed:
                self._budget.used += size - self._counted[number]
                self._counted[number] = size
                self._budget.changed.notify_all()


_value_being_read: contextvars.ContextVar[tuple[Reader, int] | None] = contextvars.ContextVar("_value_being_read", default=None)


def size_of(value: Any) -> int:
    """Bytes of the pixels in a value, and of files: arrays, images and bytes, alone or in tuples, lists and mappings."""
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Image.Image):
        return 4 * value.width * value.height  # PIL pads RGB
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, (tuple, list)) else 0
