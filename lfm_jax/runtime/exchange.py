"""How processes wait for one another, tell each other what they have, deal out work, and hand the results to process 0.

All of it goes through the coordination service that jax.distributed starts in process 0. A collective of the devices' own does
not do for that: gloo's gives up after 30 seconds without the others, and sends everything to everyone. The service waits as
long as it is told to, and ends all processes within minutes where one has died.
"""

import itertools
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import jax

from lfm_jax.errors import ClusterError, first_line

T = TypeVar("T")
WAIT_SECONDS = 7 * 24 * 3600  # for a process that is slow; one that is dead is noticed by its missing heartbeat
PIECES_AHEAD = 16  # of results that process 0 has not taken yet, so that they do not pile up in its memory
_meetings, _letters, _answers = itertools.count(), itertools.count(), itertools.count()


def wait_for_all() -> None:
    """Returns once every process has called it as often as this one. Raises ClusterError after WAIT_SECONDS."""
    if jax.process_count() > 1:
        _patiently(_service().wait_at_barrier, f"lfm/meeting/{next(_meetings)}")


@contextmanager
def others_waiting() -> Iterator[None]:
    """Lets the others wait while process 0 does what only it does. They wait no longer where it fails."""
    try:
        yield
    finally:
        wait_for_all()


def to_main(value: Any) -> list[Any] | None:
    """Hands a JSON-serialisable value to process 0, which gets those of all, ordered by process; the others get None at once.

    Every process must call it, in the same order. Raises ClusterError if a value has not come after WAIT_SECONDS.
    """
    letter, number = next(_letters), jax.process_index()
    if jax.process_count() == 1:
        return [value]
    if number > 0:
        _service().key_value_set_bytes(f"lfm/letter/{letter}/{number}", json.dumps(value).encode())
        return None
    return [value, *(_take(f"lfm/letter/{letter}/{other}") for other in range(1, jax.process_count()))]


def gather(value: Any) -> list[Any]:
    """Exchanges a small JSON-serialisable value: every process gets the list of all values, ordered by process.

    Every process must call it, in the same order. Raises ClusterError if a value has not come after WAIT_SECONDS.
    """
    everyones, number = to_main(value), next(_answers)
    if jax.process_count() == 1:
        return [value]
    if everyones is None:
        return _get(f"lfm/answer/{number}")
    if number:  # all have read the answer before this one, or their letters would not be here
        _service().key_value_delete(f"lfm/answer/{number - 1}")
    text = json.dumps(everyones)
    _service().key_value_set_bytes(f"lfm/answer/{number}", text.encode())
    return json.loads(text)


def agreed(value: Any) -> Any:
    """The JSON-serialisable value that process 0 has, so that all processes decide alike. Every process must call it."""
    return gather(value if jax.process_index() == 0 else None)[0]


def dealt(pieces: Sequence[range], work: Callable[[Sequence[int]], Iterable[T]]) -> Iterator[list[T] | None]:
    """Deals the numbers of each piece to all processes, and yields the results of a piece once it is done, piece by piece.

    Args:
      pieces: the same in every process.
      work: of this process's numbers in all the pieces -> a JSON-serialisable result for each, in their order.

    Yields:
      For each piece its results in the order of its numbers, on process 0; None on the others, which go on at once.
    """
    if not pieces:
        return
    first, step = jax.process_index(), jax.process_count()
    results = iter(work(array("q", itertools.chain.from_iterable(piece[first::step] for piece in pieces))))
    for count, piece in enumerate(pieces, start=1):
        everyones = to_main(list(itertools.islice(results, len(piece[first::step]))))
        if count % PIECES_AHEAD == 0:
            wait_for_all()
        if everyones is None:
            yield None
            continue
        together: list[Any] = [None] * len(piece)
        for number, theirs in enumerate(everyones):
            together[number::step] = theirs
        yield together


def _take(key: str) -> Any:
    value = _get(key)
    _service().key_value_delete(key)
    return value


def _get(key: str) -> Any:
    return json.loads(_patiently(_service().blocking_key_value_get_bytes, key))


def _patiently(wait: Callable[[str, int], T], key: str) -> T:
    try:
        return wait(key, int(WAIT_SECONDS * 1000))
    except jax.errors.JaxRuntimeError as error:
        others = f"process {jax.process_index()} waited for the others, for at most {WAIT_SECONDS} s, and they did not come"
        raise ClusterError(f"{others}: {first_line(error)}") from error


def _service() -> Any:
    from jax._src import distributed  # the client has no public name; orbax takes it from here, too

    return distributed.global_state.client
