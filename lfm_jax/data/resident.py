"""Training images that live on the devices: where each lies there, and what the host still draws for a batch.

With `config.data.resident` all images are read once, resized where the config says so, and packed into an atlas (see `ops.atlas`).
A batch then has, in place of its images, where each begins in the atlas, and the devices cut them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from lfm_jax.data import augmentations
from lfm_jax.data.device_draws import as_array, part_and_draws
from lfm_jax.data.images import ImageError
from lfm_jax.data.on_device import DEVICE, HOST
from lfm_jax.data.transforms import degrades, draw_corner
from lfm_jax.errors import ConfigError
from lfm_jax.ops.degradation import Degradation

WIDEST = 16384  # columns of an atlas, where no image is wider
Size = tuple[int, int]  # width and height, in px
ImageKey = int | Path  # the index of an example, or the file of an aligned fake


@dataclass(frozen=True)
class Layout:
    """How images are packed.

    Attributes:
      places: int32 [images, 3], the shard, row and column where each image begins.
      shards, rows, columns: of the atlas, uint8 [shards, rows, 3 columns].
    """

    places: np.ndarray
    shards: int
    rows: int
    columns: int

    @property
    def shard_bytes(self) -> int:
        return self.rows * self.columns * 3


def packed(sizes: Sequence[Size], *, shards: int = 1, margin: int = 0) -> Layout:
    """Packs images on shelves, the tallest first, and deals the shelves out to the shards.

    Args:
      sizes: of the images; (0, 0) for one that is not there.
      margin: rows and columns that are free at the end, so that a window of that side which begins in an image lies in the atlas.
    """
    widest = max((width for width, _ in sizes), default=0) or 1
    square = int((sum(width * height for width, height in sizes) / shards) ** 0.5)
    columns = -(-max(min(square, WIDEST), 1) // widest) * widest
    places, used = np.zeros((len(sizes), 3), np.int32), [0] * shards
    shard, column, shelf = 0, columns, 0
    for number in sorted(range(len(sizes)), key=lambda number: sizes[number][::-1], reverse=True):
        width, height = sizes[number]
        if column + width > columns:  # the next shelf, where there is most room
            used[shard] += shelf
            shard, column, shelf = used.index(min(used)), 0, height
        places[number] = shard, used[shard], column
        column += width
    used[shard] += shelf
    return Layout(places, shards, max(used) + margin, columns + margin)


@dataclass(frozen=True)
class Resident:
    """The images of a training set on the devices, as the host knows them.

    Attributes:
      numbers: of the images, by key.
      sizes: of the images, by number.
      broken: why images could not be read, by number.
      window: height and width of what the devices cut out for a view.
    """

    numbers: Mapping[ImageKey, int]
    sizes: Sequence[Size]
    broken: Mapping[int, str]
    layout: Layout
    window: tuple[int, int]

    def view(
        self, key: ImageKey, config: ConfigDict, rng: np.random.Generator, degradation: Degradation | None
    ) -> dict[str, np.ndarray]:
        """Where to cut a random view of an image, with the draws that the host would make for it.

        Returns:
          "place" int32 [4], shard, row and column, and 1 to flip it; where the device degrades, also "draws" int32 [15].

        Raises:
          ImageError: it could not be read, or is smaller than the crop.
        """
        number = self.numbers[key]
        if number in self.broken:
            raise ImageError(self.broken[number])
        size, (shard, row, column) = self.sizes[number], self.layout.places[number]
        if degradation:
            part, draws = part_and_draws(size, config, rng, degradation)
            left, top = part[0] + draws.left, part[1] + draws.top
            return {"place": _place(shard, row + top, column + left, False), "draws": as_array(draws)}
        top, left = draw_corner(size, config.crop, rng) if config.crop else (0, 0)
        return {"place": _place(shard, row + top, column + left, config.flip and rng.random() < 0.5)}


def _place(shard: int, row: int, column: int, flip: bool) -> np.ndarray:
    return np.array((shard, row, column, flip), np.int32)


def window_of(config: ConfigDict, sizes: Sequence[Size], degradation: Degradation | None) -> tuple[int, int]:
    """Height and width of what is cut out of images of these sizes for a view.

    Raises:
      ConfigError: the config takes no crop, and the images are of several sizes.
    """
    if degradation or config.crop:
        side = degradation.window if degradation else config.crop
        return side, side
    different = sorted({size for size in sizes if size != (0, 0)})
    if len(different) != 1:
        listed = ", ".join(f"{width} x {height}" for width, height in different[:5])
        raise ConfigError(
            f"config.data.resident = True: images of {len(different)} sizes ({listed}{', ...' if len(different) > 5 else ''}) and "
            "config.data.crop = 0: set config.data.crop or config.data.resize"
        )
    return different[0][::-1]


def check(config: ConfigDict) -> None:
    """Checks that images on the devices can be all that a data config needs. Raises ConfigError naming the field."""
    if not config.resident or config.augment_on == DEVICE:
        return
    for field, augment in augmentations.of_run(config).items():
        if degrades(augment):
            raise ConfigError(
                f"config.data.resident = True: images on the devices are degraded there, and config.data.{field} degrades with "
                f'config.data.augment_on = "{HOST}": set that to "{DEVICE}", or config.data.resident = False'
            )
