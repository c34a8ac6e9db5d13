"""Logits for a whole Source or a stream of images: decoded ahead by threads, batched by size, each exactly once, in order.

In: a Network, a Source or an iterable, a protocol. Out: `Scored`, one per image; one that cannot be scored
carries its reason and leaves the others unharmed.
"""

import collections
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import numpy as np
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.data.images import ImageError, as_rgb
from lfm_jax.data.prefetch import read_ahead, read_stream
from lfm_jax.data.sources.base import Source
from lfm_jax.errors import TooSmallError
from lfm_jax.inference.network import Network
from lfm_jax.runtime import distributed
from lfm_jax.runtime.progress import progress, say

BATCH_SIDE = 256  # `batch_size` is of images this size; larger ones come in smaller batches
MAX_PIXELS = 1 << 24  # of one image after the protocol; the first activations take 256 bytes a pixel
MANY_SHAPES = 8  # of batches; beyond it compiling may be what takes the time, and that is said
BATCHES_IN_FLIGHT = 2  # so that the devices work while the host decodes
PATIENCE = 8  # batches of other images of a stream, which one of a rare size holds up before it goes in a smaller batch


@dataclass
class Scored:
    """`index` into the source's examples or the stream; width and height as decoded, 0 if that failed; `logit` or `error`."""

    index: int
    width: int = 0
    height: int = 0
    logit: float | None = None
    error: str | None = None


@dataclass
class _Pending:
    """An image under way: its logit comes from those of its `pieces`, which may be in several batches."""

    scored: Scored
    pieces: int
    logits: list[float] = field(default_factory=list)


Ready = tuple[_Pending, np.ndarray]
Loaded = tuple[Scored, np.ndarray | None]


def score(
    network: Network,
    source: Source,
    protocol: str,
    *,
    batch_size: int = 32,
    threads: int = 8,
    indices: Sequence[int] | None = None,
) -> Iterator[Scored]:
    """Every example of `source`, or those of `indices` -> Scored, in that order."""
    how, chosen = protocols.parse(protocol), range(len(source.examples)) if indices is None else indices
    if not chosen:
        return

    def load(place: int) -> Loaded:
        return _load(network, how, chosen[place], functools.partial(source.image, chosen[place]))

    loaded = read_ahead(load, len(chosen), threads=threads, ahead=max(2 * batch_size, threads))
    yield from _in_order(_score_by_size(network, loaded, how, batch_size, patience=math.inf), chosen)


def score_stream(
    network: Network, images: Iterable[Any], protocol: str, *, batch_size: int = 32, threads: int = 8
) -> Iterator[Scored]:
    """Paths, PIL images or arrays uint8 [H, W, 3], however many -> Scored, in their order. At most 2 * `batch_size` + `threads`
    of them are read ahead.

    Raises:
      ValueError: an array of another shape or dtype.
    """
    how = protocols.parse(protocol)

    def load(numbered: tuple[int, Any]) -> Loaded:
        index, image = numbered
        return _load(network, how, index, functools.partial(as_rgb, image))

    loaded = read_stream(load, enumerate(images), threads=threads, ahead=max(2 * batch_size, threads))
    yield from _in_order(_score_by_size(network, loaded, how, batch_size, patience=PATIENCE * batch_size), itertools.count())


def score_together(
    network: Network, source: Source, protocol: str, *, batch_size: int = 32, threads: int = 8, what: str = "score"
) -> list[Scored]:
    """Every example -> Scored, in order, on every process: each process scores its share, with progress, and all get all."""
    mine = range(jax.process_index(), len(source.examples), jax.process_count())
    scored = score(network, source, protocol, batch_size=batch_size, threads=threads, indices=mine)
    shares = distributed.gather([asdict(item) for item in progress(scored, total=len(mine), what=what)])
    return sorted((Scored(**item) for share in shares for item in share), key=lambda item: item.index)


def bucket(side: int) -> int:
    """Side to pad to: at most 1/8 larger, eight to the octave, multiples of 32. Bounds the compilations."""
    step = max(32, (1 << side.bit_length()) >> 4)
    return -(-side // step) * step


def _in_order(found: Iterable[Scored], indices: Iterable[int]) -> Iterator[Scored]:
    done: dict[int, Scored] = {}
    following = iter(indices)
    awaited = next(following, None)
    for scored in found:
        done[scored.index] = scored
        while awaited in done:
            yield done.pop(awaited)
            awaited = next(following, None)


def _score_by_size(
    network: Network, loaded: Iterable[Loaded], protocol: protocols.Protocol, batch_size: int, *, patience: float
) -> Iterator[Scored]:
    in_flight: collections.deque[tuple[list[_Pending], jax.Array]] = collections.deque()
    shapes = set()
    for group in _groups(loaded, batch_size, patience):
        if isinstance(group, Scored):
            yield group
            continue
        shapes.add(_batch_shape(group))
        in_flight.append(_start(network, group))
        if len(in_flight) > BATCHES_IN_FLIGHT:
            yield from _finish(*in_flight.popleft(), protocol)
    for started in in_flight:
        yield from _finish(*started, protocol)
    if len(shapes) > MANY_SHAPES:
        say(f"{protocol.name}: images went in batches of {len(shapes)} shapes; each is a program, compiled once and kept")


def _groups(loaded: Iterable[Loaded], batch_size: int, patience: float) -> Iterator[list[Ready] | Scored]:
    """Images of one bucket together, a full batch where that comes before `patience` others; failures on their own, at once."""
    waiting: dict[tuple[int, int], list[Ready]] = collections.defaultdict(list)
    for scored, pieces in loaded:
        if pieces is None:
            yield scored
            continue
        pending = _Pending(scored, len(pieces))
        for pixels in pieces:
            shape = _bucket_shape(pixels)
            waiting[shape].append((pending, pixels))
            if len(waiting[shape]) >= min(batch_size, batch_size * BATCH_SIDE**2 // (shape[0] * shape[1])):
                yield waiting.pop(shape)
        longest = next(iter(waiting), None)
        if longest and scored.index - waiting[longest][0][0].scored.index >= patience:
            yield waiting.pop(longest)
    yield from (waiting[shape] for shape in sorted(waiting))


def _load(network: Network, protocol: protocols.Protocol, index: int, read: Callable[[], Image.Image]) -> Loaded:
    scored = Scored(index)
    try:
        image = read()
        scored.width, scored.height = image.size
        pieces = protocol(image)
        height, width = pieces.shape[1:3]
        network.model.require_size(height, width)
        if height * width > MAX_PIXELS:
            raise ImageError(
                f"{width} x {height} px under protocol {protocol.name} is over the limit of {MAX_PIXELS} px at once: "
                "use crop256 or tiles256"
            )
        return scored, pieces
    except (ImageError, TooSmallError) as error:
        scored.error = str(error)
        return scored, None


def _start(network: Network, group: list[Ready]) -> tuple[list[_Pending], jax.Array]:
    """Set the devices going on a group, padded to its bucket and to a power of two of rows (not read again)."""
    rows, *sides = _batch_shape(group)
    images = np.zeros((rows, *sides, 3), np.uint8)
    sizes = np.full((rows, 2), sides, np.int32)
    for row, (_, pixels) in enumerate(group):
        height, width = sizes[row] = pixels.shape[:2]
        images[row, :height, :width] = pixels
    return [pending for pending, _ in group], network.logits_async(images, sizes=sizes)


def _finish(group: list[_Pending], logits: jax.Array, protocol: protocols.Protocol) -> Iterator[Scored]:
    for pending, logit in zip(group, np.asarray(logits), strict=False):
        pending.logits.append(float(logit))
        if len(pending.logits) == pending.pieces:
            pending.scored.logit = protocol.logit(pending.logits)
            yield pending.scored


def _batch_shape(group: list[Ready]) -> tuple[int, int, int]:
    return 1 << (len(group) - 1).bit_length(), *_bucket_shape(group[0][1])


def _bucket_shape(pixels: np.ndarray) -> tuple[int, int]:
    return bucket(pixels.shape[0]), bucket(pixels.shape[1])
