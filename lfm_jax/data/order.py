"""Which image stands at which position of a run: a pure function of (seed, position), so that a run resumes exactly.

Position p is an image of the batch of step p // batch size. `config.data.balance` chooses among four ways to go through
a training set.
"""

import functools
import threading
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

import numpy as np

from lfm_jax.data.sources.base import Example
from lfm_jax.errors import DataError
from lfm_jax.runtime.rng import Stream, host_rng

ONCE_AN_EPOCH, BY_CLASS, BY_SOURCE, BY_FORMAT = "none", "class", "source", "format"
BALANCES = (ONCE_AN_EPOCH, BY_CLASS, BY_SOURCE, BY_FORMAT)
PERMUTATION, GRAIN = "permutation", "grain"
SHUFFLES = (PERMUTATION, GRAIN)
GRAIN_ROUNDS = 4  # of mixing, as in Grain's own shuffle
# Suffixes of formats with more than one. Not Pillow's table, which a newer one might change, and the order of a run with it.
SPELLINGS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".jpe": "JPEG", ".tif": "TIFF"}

Group = tuple[str, str]  # (file format, source), "" for what is not balanced
Order = Callable[[int, int], int]  # (position, attempt) -> index; attempt 1 and on stand in for images that are broken


def training_order(examples: Sequence[Example], balance: str, *, seed: int, shuffle: str = PERMUTATION) -> Order:
    """The order of a training set.

    Args:
      examples: labelled, at least one.
      balance: "none" takes each image once an epoch. "class" draws, with replacement, a real and a fake in turn. "source" does
        the same, and first draws one of the sources of that class, each in proportion to the square root of its number of
        images. "format" first draws a file format, told by the suffix and as often for each class, and then a source of that
        class and format, so that a format says nothing of the class; a format counts by the square root of its rarer class.
        Where all images are of one class, every position gets one of it.
      shuffle: where each image comes once an epoch. "permutation" keeps that of the epoch in memory. "grain" computes each place
        by itself, in constant memory.

    Raises:
      DataError: balanced by format, and no format has images of every class.
    """
    if balance != ONCE_AN_EPOCH:
        return _balanced(examples, balance, seed)
    place_of = (_by_grain if shuffle == GRAIN else _by_permutation)(len(examples), seed)

    def index(position: int, attempt: int) -> int:
        epoch, offset = divmod(position, len(examples))
        return place_of(epoch, (offset + attempt) % len(examples))

    return index


def _by_permutation(size: int, seed: int) -> Callable[[int, int], int]:
    """(epoch, place) -> index, from the permutation of the epoch, at 4 bytes per image; two of them where epochs meet."""
    one_at_a_time = threading.Lock()  # or each thread that comes to a new epoch would make the permutation for itself

    @functools.lru_cache(maxsize=2)
    def permutation(epoch: int) -> np.ndarray:
        return host_rng(seed, Stream.SHUFFLE, epoch).permutation(size).astype(np.min_scalar_type(size))

    def index(epoch: int, place: int) -> int:
        with one_at_a_time:
            order = permutation(epoch)
        return int(order[place])

    return index


def _by_grain(size: int, seed: int) -> Callable[[int, int], int]:
    """(epoch, place) -> index, from the bijection that Grain computes anew for each place."""
    from grain.experimental import index_shuffle  # here, as it takes a second to load

    @functools.lru_cache(maxsize=2)
    def seed_of(epoch: int) -> int:
        return int(host_rng(seed, Stream.SHUFFLE, epoch).integers(1 << 32))

    return lambda epoch, place: int(index_shuffle(place, max_index=size - 1, seed=seed_of(epoch), rounds=GRAIN_ROUNDS))


def _balanced(examples: Sequence[Example], balance: str, seed: int) -> Order:
    members: dict[int, dict[Group, array[int]]] = defaultdict(lambda: defaultdict(lambda: array("I")))
    for index, example in enumerate(examples):
        file_format = _format_of(example.path) if balance == BY_FORMAT else ""
        source = "" if balance == BY_CLASS else example.generator
        members[int(example.label or 0)][file_format, source].append(index)
    weights = {label: {group: len(indices) ** 0.5 for group, indices in members[label].items()} for label in sorted(members)}
    if balance == BY_FORMAT:
        weights = _formats_alike(members, weights)
    classes = [[np.array(members[label][group]) for group in weights[label]] for label in weights]
    reach = [np.cumsum(list(of_label.values())) for of_label in weights.values()]

    def draw(position: int, attempt: int) -> int:
        groups, ends = classes[position % len(classes)], reach[position % len(classes)]
        chance, place = host_rng(seed, Stream.BALANCE, position).random((attempt + 1, 2))[attempt]
        group = groups[int(np.searchsorted(ends, chance * ends[-1], side="right"))]
        return int(group[int(place * len(group))])

    return draw


def _formats_alike(
    members: Mapping[int, Mapping[Group, Sequence[int]]], weights: Mapping[int, Mapping[Group, float]]
) -> dict[int, dict[Group, float]]:
    """The weights scaled so that a format has the same in each class; groups of a format that a class lacks have none."""
    images: dict[int, Counter[str]] = defaultdict(Counter)
    totals: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for label, of_label in weights.items():
        for (file_format, source), weight in of_label.items():
            images[label][file_format] += len(members[label][file_format, source])
            totals[label][file_format] += weight
    formats = set.intersection(*(set(counts) for counts in images.values()))
    if not formats:
        named = "; ".join(f"{'fake' if label else 'real'}: {', '.join(sorted(images[label]))}" for label in images)
        raise DataError(f'config.data.balance = "format", and no file format has images of both classes ({named})')
    shares = {name: min(counts[name] for counts in images.values()) ** 0.5 for name in formats}
    return {
        label: {
            group: weight * shares[group[0]] / totals[label][group[0]] for group, weight in of_label.items() if group[0] in shares
        }
        for label, of_label in weights.items()
    }


def _format_of(path: str) -> str:
    """The file format that a path's suffix stands for, such as "JPEG" for photo.jpg."""
    suffix = PurePath(path).suffix.lower()
    return SPELLINGS.get(suffix, suffix[1:].upper())
