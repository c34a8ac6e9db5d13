"""A folder of files made from photographs, one each: what is there already is left alone, so a second run resumes the first."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lfm_jax.data.images import ImageError
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.runtime.paths import write_whole

MADE, THERE_ALREADY = "made", "there already"


@dataclass(frozen=True)
class Derived:
    """What became of one photograph: `state` is "made", "there already", or why nothing was made of it."""

    path: str
    state: str


def derive(
    source: FileSource, indices: Iterable[int], out: Path, path_of: Callable[[str], str], make: Callable[[int], bytes]
) -> Iterator[Derived]:
    """Makes what is missing, and tells of each photograph.

    Args:
      source, indices: the photographs.
      out, path_of: the file made from a photograph lies at `path_of` its path in `out`.
      make: index -> what the file holds; raises ImageError with the reason where it cannot be made.
    """
    for index in indices:
        photograph = source.examples[index].path
        target = out / path_of(photograph)
        if target.exists():
            yield Derived(photograph, THERE_ALREADY)
            continue
        try:
            content = make(index)
        except ImageError as error:
            yield Derived(photograph, str(error))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)
        yield Derived(photograph, MADE)
