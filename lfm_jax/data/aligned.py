"""Pairs of a photograph and its aligned fake (see `prepare.align`) in a training batch.

Position 2q and 2q + 1 of a run are a pair with probability `config.data.aligned.share`. Both are then views of one
photograph with the same draws, so the network sees the same crop, flipped and degraded in the same way, before and after
the decoder.
"""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data.images import decode
from lfm_jax.data.order import Order, training_order
from lfm_jax.data.prepare.align import fake_path
from lfm_jax.data.sources.base import Example
from lfm_jax.errors import DataError
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.rng import Stream, host_rng


class AlignedFakes:
    """The aligned fakes of a training set's photographs, as far as there are any in `config.root`.

    Attributes:
      order: which photograph is the one of the pair that begins at a position.

    Raises:
      DataError: there is not one fake.
    """

    def __init__(self, examples: Sequence[Example], config: ConfigDict, *, balance: str, seed: int):
        self.share, self.seed = config.share, seed
        root = expanded(config.root)
        candidates = {index: root / fake_path(example.path) for index, example in enumerate(examples) if example.label == 0}
        self._files: dict[int, Path] = {index: file for index, file in candidates.items() if file.is_file()}
        if not self._files:
            raise DataError(
                f"config.data.aligned.root = {config.root}: no aligned fake of any of the {len(candidates)} photographs; "
                "make them with lfm data align"
            )
        photographs, indices = [examples[index] for index in self._files], list(self._files)
        order = training_order(photographs, balance, seed=seed)
        self.order: Order = lambda first, attempt: indices[order(first, attempt)]

    def has_pair_at(self, position: int) -> bool:
        """Whether this position belongs to a pair."""
        return bool(host_rng(self.seed, Stream.PAIR, first_of_pair(position)).random() < self.share)

    def image(self, index: int) -> Image.Image:
        """The aligned fake of photograph `index`. Raises ImageError where it cannot be read."""
        return decode(self._files[index])


def first_of_pair(position: int) -> int:
    """The position of the photograph of the pair that this position may belong to."""
    return position - position % 2
