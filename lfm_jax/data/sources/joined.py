"""Several sources read as one, and a part of one."""

from collections.abc import Sequence

from PIL import Image

from lfm_jax.data.sources.base import Example, Source


class JoinedSource:
    """The examples of several sources, one source after another. `parts` holds the names of the sources."""

    def __init__(self, sources: Sequence[Source], *, name: str):
        self.name, self.parts = name, [source.name for source in sources]
        self.examples: Sequence[Example] = [example for source in sources for example in source.examples]
        self._places = [(source, index) for source in sources for index in range(len(source.examples))]

    def image(self, index: int) -> Image.Image:
        source, place = self._places[index]
        return source.image(place)

    def encoded(self, index: int) -> bytes | None:
        source, place = self._places[index]
        return source.encoded(place)

    def content_hash(self, index: int) -> str:
        source, place = self._places[index]
        return source.content_hash(place)


class PartOfSource:
    """Some of the examples of a source, in its order. `indices` are their places in it."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self.name, self._source, self._indices = source.name, source, indices
        self.examples: Sequence[Example] = [source.examples[index] for index in indices]

    def image(self, index: int) -> Image.Image:
        return self._source.image(self._indices[index])

    def encoded(self, index: int) -> bytes | None:
        return self._source.encoded(self._indices[index])

    def content_hash(self, index: int) -> str:
        return self._source.content_hash(self._indices[index])
