"""Pairs of a photograph and its aligned fake (see `prepare.align`) in a training batch.

Position 2q and 2q + 1 of a run are a pair with probability `config.data.aligned.share`. Both are then views of one
photograph with the same draws, so the network sees the same crop, flipped and degraded in the same way, before and after
the decoder. Where a photograph has fakes by several decoders, each pair draws one of them.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from lfm_jax.data.order import Order, training_order
from lfm_jax.data.prepare.align import fake_path
from lfm_jax.data.sources.base import Example
from lfm_jax.data.sources.open import names_in
from lfm_jax.errors import DataError
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.rng import Stream, host_rng


class AlignedFakes:
    """The aligned fakes of a training set's photographs, as far as there are any in the folders of `config.root`.

    Attributes:
      order: which photograph is the one of the pair that begins at a position.

    Raises:
      DataError: there is not one fake in one of the folders.
    """

    def __init__(self, examples: Sequence[Example], config: ConfigDict, *, balance: str, seed: int):
        self.share, self.seed = config.share, seed
        photographs = {index: fake_path(example.path) for index, example in enumerate(examples) if example.label == 0}
        self._files: dict[int, list[Path]] = defaultdict(list)
        for folder in names_in(config.root) or [""]:
            root = expanded(folder)
            found = {index: root / path for index, path in photographs.items() if (root / path).is_file()}
            if not found:
                raise DataError(
                    f"config.data.aligned.root = {config.root}: no aligned fake of any of the {len(photographs)} photographs "
                    f"in {folder!r}; make them with lfm data align"
                )
            for index, file in found.items():
                self._files[index].append(file)
        indices = sorted(self._files)
        order = training_order([examples[index] for index in indices], balance, seed=seed)
        self.order: Order = lambda first, attempt: indices[order(first, attempt)]

    def has_pair_at(self, position: int) -> bool:
        """Whether this position belongs to a pair."""
        return bool(host_rng(self.seed, Stream.PAIR, first_of_pair(position)).random() < self.share)

    def files(self) -> list[Path]:
        """All of them, each once."""
        return [file for index in sorted(self._files) for file in self._files[index]]

    def file(self, index: int, position: int) -> Path:
        """The aligned fake of photograph `index` for the pair at `position`, drawn from those that there are."""
        rng = host_rng(self.seed, Stream.PAIR, first_of_pair(position))
        rng.random()  # which `has_pair_at` compares with the share
        return self._files[index][rng.integers(len(self._files[index]))]


def first_of_pair(position: int) -> int:
    """The position of the photograph of the pair that this position may belong to."""
    return position - position % 2
