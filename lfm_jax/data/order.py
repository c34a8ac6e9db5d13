"""Which image stands at which position of a run: a pure function of (seed, position), so that a run resumes exactly.

Position p is an image of the batch of step p // batch size. `config.data.balance` chooses among three ways to go through
a training set.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from lfm_jax.data.sources.base import Example
from lfm_jax.runtime.rng import Stream, host_rng

ONCE_AN_EPOCH, BY_CLASS, BY_SOURCE = "none", "class", "source"
BALANCES = (ONCE_AN_EPOCH, BY_CLASS, BY_SOURCE)

Order = Callable[[int, int], int]  # (position, attempt) -> index; attempt 1 and on stand in for images that are broken


def training_order(examples: Sequence[Example], balance: str, *, seed: int) -> Order:
    """The order of a training set.

    Args:
      examples: labelled, at least one.
      balance: "none" takes each image once an epoch. "class" draws, with replacement, a real and a fake in turn. "source" does
        the same, and first draws one of the sources of that class, each in proportion to the square root of its number of
        images. Where all images are of one class, every position gets one of it.
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
    members: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, example in enumerate(examples):
        members[int(example.label or 0)][example.generator if balance == BY_SOURCE else ""].append(index)
    classes = [[np.array(group) for group in members[label].values()] for label in sorted(members)]
    reach = [np.cumsum([len(group) ** 0.5 for group in groups]) for groups in classes]

    def draw(position: int, attempt: int) -> int:
        groups, ends = classes[position % len(classes)], reach[position % len(classes)]
        chance, place = host_rng(seed, Stream.BALANCE, position).random((attempt + 1, 2))[attempt]
        group = groups[int(np.searchsorted(ends, chance * ends[-1], side="right"))]
        return int(group[int(place * len(group))])

    return draw
