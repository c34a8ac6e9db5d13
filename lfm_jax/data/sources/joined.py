"""Several sources read as one, and a part of one."""

from collections.abc import Sequence

from PIL import Image

from lfm_jax.data.sources.base import Example, Source
from lfm_jax.data.sources.index import ChosenExamples, JoinedExamples


class JoinedSource:
    """The examples of several sources, one source after another. `parts` holds the names of the sources."""

    def __init__(self, sources: Sequence[Source], *, name: str):
        self.name, self.parts = name, [source.name for source in sources]
        self._sources, self._joined = sources, JoinedExamples([source.examples for source in sources])
        self.examples: Sequence[Example] = self._joined

    def image(self, index: int) -> Image.Image:
        part, place = self._joined.where(index)
        return self._sources[part].image(place)

    def encoded(self, index: int) -> bytes | None:
        part, place = self._joined.where(index)
        return self._sources[part].encoded(place)

    def content_hash(self, index: int) -> str:
        part, place = self._joined.where(index)
        return self._sources[part].content_hash(place)


class PartOfSource:
    """Some of the examples of a source, in its order. `indices` are their places in it."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self.name, self._source, chosen = source.name, source, ChosenExamples(source.examples, indices)
        self.examples: Sequence[Example] = chosen
        self._indices = chosen.places

    def image(self, index: int) -> Image.Image:
        return self._source.image(self._indices[index])

    def encoded(self, index: int) -> bytes | None:
        return self._source.encoded(self._indices[index])

    def content_hash(self, index: int) -> str:
        return self._source.content_hash(self._indices[index])
