"""Which image stands at which position of a run: a pure function of (seed, position), so that a run resumes exactly.

Position p is an image of the batch of step p // batch size. `config.data.balance` chooses among four ways to go through
a training set.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

import numpy as np

from lfm_jax.data.sources.base import Example
from lfm_jax.errors import DataError
from lfm_jax.runtime.rng import Stream, host_rng

ONCE_AN_EPOCH, BY_CLASS, BY_SOURCE, BY_FORMAT = "none", "class", "source", "format"
BALANCES = (ONCE_AN_EPOCH, BY_CLASS, BY_SOURCE, BY_FORMAT)
# Suffixes of formats with more than one. Not Pillow's table, which a newer one might change, and the order of a run with it.
SPELLINGS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".jpe": "JPEG", ".tif": "TIFF"}

Group = tuple[str, str]  # (file format, source), "" for what is not balanced
Order = Callable[[int, int], int]  # (position, attempt) -> index; attempt 1 and on stand in for images that are broken


def training_order(examples: Sequence[Example], balance: str, *, seed: int) -> Order:
    """The order of a training set.

    Args:
      examples: labelled, at least one.
      balance: "none" takes each image once an epoch. "class" draws, with replacement, a real and a fake in turn. "source" does
        the same, and first draws one of the sources of that class, each in proportion to the square root of its number of
        images. "format" first draws a file format, told by the suffix and as often for each class, and then a source of that
        class and format, so that a format says nothing of the class; a format counts by the square root of its rarer class.
        Where all images are of one class, every position gets one of it.

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
    members: dict[int, dict[Group, list[int]]] = defaultdict(lambda: defaultdict(list))
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
