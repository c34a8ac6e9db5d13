"""Logits for a whole Source or a stream of images: decoded ahead by threads, batched by size, each once and in order.

Every image gives one `Scored`. An image that cannot be scored carries its reason; the rest are scored.
"""

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import jax
import numpy as np
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.data.facts import FileFacts, carried
from lfm_jax.data.images import TRUNCATED, ImageError, as_rgb
from lfm_jax.data.prefetch import read_ahead, read_stream
from lfm_jax.data.protocols import Protocol
from lfm_jax.data.sources.base import Source
from lfm_jax.errors import TooSmallError
from lfm_jax.inference.batching import images_at_once, is_large, padded_rows, padded_shape, require_affordable
from lfm_jax.inference.network import Network
from lfm_jax.inference.prediction import require_finite
from lfm_jax.runtime.exchange import gather
from lfm_jax.runtime.progress import progress, say

MANY_SHAPES = 8  # of batches; with more, compiling may take most of the time, which is then said
BATCHES_IN_FLIGHT = 2  # so that the devices work while the host decodes
PATIENCE = 8  # how many batches of later images one image waits for others of its size, before it goes without them


@dataclass
class Scored:
    """What became of one image.

    Attributes:
      index: into the source's examples, or the place in the stream.
      width, height: as decoded, 0 if decoding failed.
      logit: None if the image could not be scored; `error` then says why.
      flat: the share of the scored 2 x 2 blocks that have one colour, see `flatness`.
      facts: of the file, None for pixels that came without one.
      truncated: why the file was refused but for `take_truncated`, None for a whole image.
    """

    index: int
    width: int = 0
    height: int = 0
    logit: float | None = None
    error: str | None = None
    flat: float = 0.0
    facts: FileFacts | None = None
    truncated: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """What `asdict` made of one, after a way through JSON. Raises TypeError for anything else."""
        facts = values.get("facts")
        return cls(**{**values, "facts": FileFacts(**facts) if facts else None})


@dataclass
class _Pending:
    """An image under way. Its logit comes from those of its `pieces`, which may be in several batches."""

    scored: Scored
    pieces: int
    logits: list[float] = field(default_factory=list)


Ready = tuple[_Pending, np.ndarray]  # a piece [H, W, 3] waiting for its batch
Loaded = tuple[Scored, np.ndarray | None]  # pieces [N, H, W, 3], None if the image cannot be scored


def score(
    network: Network,
    source: Source,
    protocol: str,
    *,
    batch_size: int = 32,
    threads: int = 8,
    indices: Sequence[int] | None = None,
) -> Iterator[Scored]:
    """Scores every example of `source`, or those of `indices`, and yields them in that order."""
    parsed, chosen = protocols.parse(protocol), range(len(source.examples)) if indices is None else indices
    if not chosen:
        return

    def load(place: int) -> Loaded:
        return _load(network, parsed, chosen[place], functools.partial(source.image, chosen[place]))

    loaded = read_ahead(load, len(chosen), threads=threads, ahead=max(2 * batch_size, threads))
    yield from _in_order(_score_by_size(network, loaded, parsed, batch_size), chosen)


def score_stream(
    network: Network,
    images: Iterable[Any],
    protocol: str,
    *,
    batch_size: int = 32,
    threads: int = 8,
    read: Callable[[int, Any], Image.Image] = lambda _, image: as_rgb(image),
) -> Iterator[Scored]:
    """Scores paths, PIL images or arrays uint8 [H, W, 3], and yields them in their order.

    At most 2 * `batch_size` + `threads` images are read ahead, so the stream may be endless. `read` makes an RGB image of a
    place in the stream and of what stands there.

    Raises:
      ValueError: an array of another shape or dtype.
    """
    parsed = protocols.parse(protocol)

    def load(numbered: tuple[int, Any]) -> Loaded:
        index, image = numbered
        return _load(network, parsed, index, functools.partial(read, index, image))

    loaded = read_stream(load, enumerate(images), threads=threads, ahead=max(2 * batch_size, threads))
    yield from _in_order(_score_by_size(network, loaded, parsed, batch_size), itertools.count())


def score_together(
    network: Network, source: Source, protocol: str, *, batch_size: int = 32, threads: int = 8, what: str = "score"
) -> list[Scored]:
    """Scores every example, each process its share, with progress; all processes get all of them, in order."""
    return list(stream_together(network, source, protocol, batch_size=batch_size, threads=threads, what=what))


def stream_together(
    network: Network, source: Source, protocol: str, *, batch_size: int, threads: int, what: str = "score"
) -> Iterator[Scored]:
    """`score_together`, one after another; where there is one process, none of them is kept."""
    share = range(jax.process_index(), len(source.examples), jax.process_count())
    items = score(network, source, protocol, batch_size=batch_size, threads=threads, indices=share)
    shown = progress(items, total=len(share), what=what)
    if jax.process_count() == 1:
        yield from shown
        return
    shares = gather([asdict(item) for item in shown])
    yield from sorted((Scored.of(item) for items in shares for item in items), key=lambda item: item.index)


def _in_order(items: Iterable[Scored], indices: Iterable[int]) -> Iterator[Scored]:
    done: dict[int, Scored] = {}
    following = iter(indices)
    awaited = next(following, None)
    for item in items:
        done[item.index] = item
        while awaited in done:
            yield done.pop(awaited)
            awaited = next(following, None)


def _score_by_size(network: Network, loaded: Iterable[Loaded], protocol: Protocol, batch_size: int) -> Iterator[Scored]:
    in_flight: collections.deque[tuple[list[_Pending], jax.Array]] = collections.deque()
    shapes = set()
    for group in _groups(loaded, batch_size):
        if isinstance(group, Scored):
            yield group
            continue
        rows, *sides = _batch_shape(group)
        shapes.add((rows, *sides))
        alone = is_large(*sides)
        while alone and in_flight:
            yield from _finish(*in_flight.popleft(), protocol)
        in_flight.append(_start(network, group))
        if alone or len(in_flight) > BATCHES_IN_FLIGHT:
            yield from _finish(*in_flight.popleft(), protocol)
    for started in in_flight:
        yield from _finish(*started, protocol)
    if len(shapes) > MANY_SHAPES:
        say(f"{protocol.name}: images went in batches of {len(shapes)} shapes; each is a program, compiled once and kept")


def _groups(loaded: Iterable[Loaded], batch_size: int) -> Iterator[list[Ready] | Scored]:
    """Groups of one padded shape that make a full batch, or what there is of them after PATIENCE batches of other images.

    So one image of a rare size neither holds back the results of all that follow it, which come in order, nor lets them
    pile up. Images that could not be loaded are passed on alone, at once.
    """
    waiting: dict[tuple[int, int], list[Ready]] = collections.defaultdict(list)
    since: dict[tuple[int, int], int] = {}  # how many images had been loaded when the group of a shape was begun
    for count, (scored, pieces) in enumerate(loaded):
        if pieces is None:
            yield scored
            continue
        pending = _Pending(scored, len(pieces))
        for pixels in pieces:
            shape = padded_shape(pixels)
            if not waiting[shape]:
                since[shape] = count
            # Copied, as a tile that waits for others would keep all tiles of its image in memory.
            waiting[shape].append((pending, pixels if len(pieces) == 1 else pixels.copy()))
            if len(waiting[shape]) >= images_at_once(batch_size, shape):
                yield waiting.pop(shape)
        longest = next(iter(waiting), None)  # shapes are in the order in which their groups were begun
        if longest and count - since[longest] >= PATIENCE * batch_size:
            yield waiting.pop(longest)
    yield from (waiting[shape] for shape in sorted(waiting))


def _load(network: Network, protocol: Protocol, index: int, read: Callable[[], Image.Image]) -> Loaded:
    scored = Scored(index)
    try:
        image = read()
        scored.width, scored.height = image.size
        scored.truncated = image.info.get(TRUNCATED)
        width, height = protocol.piece_size(*image.size)
        network.model.require_size(height, width)
        require_affordable(height, width, protocol=protocol.name)
        pieces, scored.facts = protocol(image), carried(image)
        del image  # its memory is needed
        scored.flat = flatness(pieces)
        return scored, pieces
    except (ImageError, TooSmallError) as error:
        scored.error = str(error)
        return scored, None


def flatness(pieces: np.ndarray) -> float:
    """pieces uint8 [N, H, W, 3] -> the share of their 2 x 2 blocks whose pixels differ by no more than a level of 255."""
    height, width = (side // 2 * 2 for side in pieces.shape[1:3])
    flat = 0
    for piece in pieces:  # one by one, as there may be thousands of tiles
        corners = [piece[row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
        spread = functools.reduce(np.maximum, corners) - functools.reduce(np.minimum, corners)
        flat += int((spread.max(-1) <= 1).sum())
    return flat / (len(pieces) * height * width // 4) if flat else 0.0


def _start(network: Network, group: list[Ready]) -> tuple[list[_Pending], jax.Array]:
    """Sets the devices going on a group, in padded images and padded rows; nobody reads the logits of the latter."""
    rows, *sides = _batch_shape(group)
    images = np.zeros((rows, *sides, 3), np.uint8)
    sizes = np.full((rows, 2), sides, np.int32)
    for row, (_, pixels) in enumerate(group):
        height, width = sizes[row] = pixels.shape[:2]
        images[row, :height, :width] = pixels
    return [pending for pending, _ in group], network.logits_async(images, sizes=sizes)


def _finish(group: list[_Pending], logits: jax.Array, protocol: Protocol) -> Iterator[Scored]:
    for pending, logit in zip(group, np.asarray(logits), strict=False):
        pending.logits.append(float(logit))
        if len(pending.logits) == pending.pieces:
            logit = protocol.logit(pending.logits)
            try:
                require_finite(logit)
                pending.scored.logit = logit
            except ImageError as error:
                pending.scored.error = str(error)
            yield pending.scored


def _batch_shape(group: list[Ready]) -> tuple[int, int, int]:
    return padded_rows(len(group)), *padded_shape(group[0][1])
