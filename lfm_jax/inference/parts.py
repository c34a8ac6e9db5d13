"""The parts of a large set, scored one after the other; whatever hands them out, a part is scored here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfm_jax.inference import shards
from lfm_jax.inference.network import Network
from lfm_jax.inference.predict import predict_files
from lfm_jax.inference.records import Record, write_records
from lfm_jax.inference.shards import Shard


@dataclass(frozen=True)
class Parts:
    """All parts of one set of files.

    Attributes:
      folder: where the parts lie.
      count: how many there are.
      format: of their files.
      files: the images and archives of all parts, in their order.
      options: of `predict_files`.
    """

    folder: Path
    count: int
    format: str
    files: Sequence[str]
    options: Mapping[str, Any]

    def file(self, index: int) -> Path:
        return Shard(index, self.count).file(self.folder, self.format)

    def missing(self, indices: Iterable[int]) -> list[int]:
        """Those of `indices` that are not there yet."""
        return [index for index in indices if not self.file(index).exists()]

    def score(self, network: Network, index: int) -> list[Record]:
        """Scores a part and writes it. Returns the records of what could not be scored."""
        own = Shard(index, self.count).of(self.files)
        with shards.writing(self.file(index)) as out:
            _, failed = write_records(predict_files(network, own, **self.options) if own else [], self.format, out)
        return failed


def in_this_process(parts: Parts, network: Network, indices: Iterable[int]) -> Iterator[list[Record]]:
    """Scores the parts one after the other and yields what could not be scored of each."""
    for index in indices:
        yield parts.score(network, index)
