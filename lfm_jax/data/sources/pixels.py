"""Stored pixels: the training images of prepared data, resized once, so that training decodes no file.

`lfm data prepare --pixels=256` writes pixels256_train.npy beside the records of each data set that has a training split, and
pixels256_train.json, which says what is in it. Whatever needs the files, such as validation, reads the records as before.
"""

import json
import shutil
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data import augmentations
from lfm_jax.data.images import ImageError
from lfm_jax.data.listing import listing_hash
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.protocols import parse
from lfm_jax.data.sources.records import DamagedDataError, RecordSource, open_prepared_split, parse_line
from lfm_jax.data.transforms import degrades
from lfm_jax.errors import ConfigError, DataError, UserError
from lfm_jax.runtime.paths import write_whole
from lfm_jax.runtime.progress import progress

SPLIT = "train"


@dataclass(frozen=True)
class Stored:
    """What a file of pixels holds.

    Attributes:
      protocol: how the pixels were made of each image, such as resize256.
      images: how many, in the order of the records.
      source: the hash of all the files that they were made of.
      pillow: the version that decoded and resized them; another one may give other bits.
    """

    protocol: str
    images: int
    source: str
    pillow: str


def check(data: ConfigDict) -> None:
    """Checks that stored pixels give the same training images as the files would. Raises ConfigError naming the field."""
    if not data.pixels:
        return
    field = f"config.data.pixels = {data.pixels}"
    if data.source != "tfds":
        raise ConfigError(f"{field} is for config.data.source = 'tfds', not {data.source!r}")
    if data.resize != data.pixels:
        raise ConfigError(f"{field} and config.data.resize = {data.resize} differ: set both to the side that is stored")
    if data.hold_out:
        raise ConfigError(f"{field} stores training images only, and config.data.hold_out = {data.hold_out!r} validates on some")
    for name, augment in augmentations.of_run(data).items():
        if degrades(augment) and not augment.after_resize:
            raise ConfigError(f"{field} is resized already: set config.data.{name}.after_resize = True, or pixels = 0")


def pixels_file(folder: Path, side: int) -> Path:
    return folder / f"pixels{side}_{SPLIT}.npy"


def record_type(side: int) -> np.dtype[Any]:
    """One image in the file: a checksum, and the pixels of a square."""
    return np.dtype([("crc32", "<u4"), ("pixels", "u1", (side, side, 3))])


def store_pixels(folder: Path, side: int, *, threads: int) -> Path:
    """Writes the pixels of the training split of a prepared data set; what is there already and fits is kept.

    Raises:
      UserError: the disk has no room for them.
      DataError: an image cannot be read.
    """
    source, file = open_prepared_split(folder, "", SPLIT), pixels_file(folder, side)
    stored = _stored(source, side)
    if file.exists() and _description(file) == stored:
        return file
    count, kind, protocol = len(source.examples), record_type(side), parse(f"resize{side}")
    needed, free = count * kind.itemsize, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"--pixels={side}: {file} needs {needed / 1e9:.2f} GB, but only {free / 1e9:.2f} GB are free")

    def pixels(index: int) -> np.ndarray:
        try:
            return protocol(source.image(index))[0]
        except ImageError as error:
            raise DataError(f"{source.examples[index].path} of {source.name}: {error}") from None

    unfinished = file.with_suffix(".unfinished")
    file.with_suffix(".json").unlink(missing_ok=True)  # until the new one is whole
    array = np.lib.format.open_memmap(unfinished, "w+", kind, (count,))
    images = read_ahead(pixels, count, threads=threads, ahead=4 * threads)
    for index, image in enumerate(progress(images, total=count, what=f"store pixels of {source.name}")):
        array[index] = (zlib.crc32(image.data), image)
    array.flush()
    unfinished.replace(file)
    write_whole(file.with_suffix(".json"), (json.dumps(asdict(stored)) + "\n").encode())
    return file


class PixelSource:
    """A prepared training split whose images come from stored pixels; `encoded` still gives the files.

    Raises:
      DataError: no pixels of that side are stored, or they were made of other files.
    """

    def __init__(self, source: RecordSource, folder: Path, side: int):
        self.name, self.examples = source.name, source.examples
        self.encoded, self.content_hash = source.encoded, source.content_hash
        self._source, self._folder, self._side = source, folder, side
        file = pixels_file(folder, side)
        advice = f"run lfm data prepare --pixels={side} on it again"
        if not file.exists():
            raise DataError(f"config.data.pixels = {side}: there is no {file}: {advice}")
        try:
            self._array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DamagedDataError(f"{file} cannot be read ({error}): {advice}") from None
        whole = _stored(open_prepared_split(folder, "", SPLIT), side)
        stored = _description(file)
        if stored is None or (stored.protocol, stored.images, stored.source) != (whole.protocol, whole.images, whole.source):
            raise DataError(f"{file} was not made of the records beside it: {advice}")
        if self._array.shape != (whole.images,) or self._array.dtype != record_type(side):
            raise DamagedDataError(f"{file} does not hold {whole.images} images of {side} px: {advice}")

    def image(self, index: int) -> Image.Image:
        record = self._array[self._source.places[index]]
        pixels = np.asarray(record["pixels"])
        if zlib.crc32(pixels.data) != record["crc32"]:
            raise ImageError(f"the pixels stored in {pixels_file(self._folder, self._side)} are damaged")
        return Image.fromarray(pixels)

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes, which map the file by themselves; it is compared with the records only once."""
        return {name: value for name, value in vars(self).items() if name != "_array"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._array = np.load(pixels_file(self._folder, self._side), mmap_mode="r", allow_pickle=False)


def _stored(source: RecordSource, side: int) -> Stored:
    count = len(source.examples)
    return Stored(f"resize{side}", count, listing_hash(map(source.content_hash, range(count))), PIL.__version__)


def _description(file: Path) -> Stored | None:
    """What the text beside a file of pixels says; None if there is none, or it is damaged."""
    try:
        return parse_line(Stored, file.with_suffix(".json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
