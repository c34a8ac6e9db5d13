"""Which image stands at which position of a run: a pure function of (seed, position), so that a run resumes exactly.

Position p is an image of the batch of step p // batch size. `config.data.balance` chooses among four ways to go through
a training set.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

import numpy as np

from lfm_jax.data.sources.base import Example
from lfm_jax.errors import DataError
from lfm_jax.runtime.rng import Stream, host_rng

ONCE_AN_EPOCH, BY_CLASS, BY_SOURCE, BY_FORMAT = "none", "class", "source", "format"
BALANCES = (ONCE_AN_EPOCH, BY_CLASS, BY_SOURCE, BY_FORMAT)
SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".jpe": "JPEG", ".tif": "TIFF"}  # those of more than one spelling

Order = Callable[[int, int], int]  # (position, attempt) -> index; attempt 1 and on stand in for images that are broken


def training_order(examples: Sequence[Example], balance: str, *, seed: int) -> Order:
    """The order of a training set.

    Args:
      examples: labelled, at least one.
      balance: "none" takes each image once an epoch. "class" draws, with replacement, a real and a fake in turn. "source" does
        the same, and first draws one of the sources of that class, each in proportion to the square root of its number of
        images. "format" first draws a file format, the same for both classes, and then a source of that class and format, so
        that a format says nothing of the class; a format counts by the square root of its rarer class. Where all images are of
        one class, every position gets one of it.

    Raises:
      DataError: balanced by format, and no format has images of every class.
    """
    return _each_once(len(examples), seed) if balance == ONCE_AN_EPOCH else _balanced(examples, balance, seed)


def _each_once(size: int, seed: int) -> Order:
    @functools.lru_cache(maxsize=2)
    def permutation(epoch: int) -> np.ndarray:
        return host_rng(seed, Stream.SHUFFLE, epoch).permutation(size)

    def index(position: int, attempt: int) -> int:
        epoch, offset = divmod(position, size)
        return int(permutation(epoch)[(offset + attempt) % size])

    return index


def _balanced(examples: Sequence[Example], balance: str, seed: int) -> Order:
    # label -> format -> source -> indices; one format or one source where they are not balanced
    members: dict[int, dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for index, example in enumerate(examples):
        file_format = format_of(example.path) if balance == BY_FORMAT else ""
        source = example.generator if balance in (BY_SOURCE, BY_FORMAT) else ""
        members[int(example.label or 0)][file_format][source].append(index)
    labels = sorted(members)
    formats = [name for name in members[labels[0]] if all(name in members[label] for label in labels)]
    if not formats:
        named = "; ".join(f"{'fake' if label else 'real'}: {', '.join(sorted(members[label]))}" for label in labels)
        raise DataError(f'config.data.balance = "format", and no file format has images of both classes ({named})')
    rarer = [min(sum(map(len, members[label][name].values())) for label in labels) for name in formats]
    format_ends = _ends(rarer)
    groups = [[[np.array(group) for group in members[label][name].values()] for name in formats] for label in labels]
    ends = [[_ends(map(len, sources)) for sources in of_label] for of_label in groups]

    def draw(position: int, attempt: int) -> int:
        label = position % len(labels)
        chance, place, *more = host_rng(seed, Stream.BALANCE, position).random((attempt + 1, 3 if len(formats) > 1 else 2))[attempt]
        which = _chosen(format_ends, more[0]) if more else 0
        group = groups[label][which][_chosen(ends[label][which], chance)]
        return int(group[int(place * len(group))])

    return draw


def format_of(path: str) -> str:
    """The file format that a path's suffix stands for, such as "JPEG" for photo.jpg."""
    suffix = PurePath(path).suffix.lower()
    return SUFFIXES.get(suffix, suffix[1:].upper())


def _ends(sizes: Iterable[int]) -> np.ndarray:
    """Where each of several groups ends, when they are drawn in proportion to the square roots of their sizes."""
    return np.cumsum([size**0.5 for size in sizes])


def _chosen(ends: np.ndarray, chance: float) -> int:
    return int(np.searchsorted(ends, chance * ends[-1], side="right"))
