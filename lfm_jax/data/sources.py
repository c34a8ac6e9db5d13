"""Sets of labelled images: the field's folders, and the built-in synthetic scenes.

In: a data config, or a folder. Out: a `Source`, a list of `Example`s and a way to get each one's image.
A source knows nothing of batches, protocols or the network.
"""

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ml_collections import ConfigDict
from PIL import Image

from lfm_jax.data import synthetic
from lfm_jax.data.images import ImageError, decode, image_files, list_images, read, walk
from lfm_jax.errors import DataError

if TYPE_CHECKING:
    from lfm_jax.data.records import JoinedSource

BUILT_IN = "builtin"  # in place of a folder to be scored: generators that no training split has, the same images everywhere
LABEL_FOLDERS = {"0_real": 0, "1_fake": 1}


@dataclass(frozen=True)
class Example:
    """One image: path (relative to its source), label 0 real / 1 fake / None unknown, suite and generator."""

    path: str
    label: int | None = None
    suite: str = ""
    generator: str = ""


class Source(Protocol):
    """What the pipeline and the scorer need of a data set. `name` is what reports call it."""

    name: str
    examples: Sequence[Example]

    def image(self, index: int) -> Image.Image:
        """RGB image of examples[index]; raises ImageError."""
        ...

    def encoded(self, index: int) -> bytes | None:
        """The file of examples[index] as it is, None where there never was one; raises ImageError."""
        ...

    def content_hash(self, index: int) -> str:
        """What tells the content of examples[index] from any other, broken files included."""
        ...


class FileSource:
    """Image files by path; each example's path is taken relative to `root`."""

    def __init__(self, root: Path, examples: Sequence[Example], *, name: str = ""):
        self.root, self.examples, self.name = root, examples, name or str(root)

    def image(self, index: int) -> Image.Image:
        return decode(self.root / self.examples[index].path)

    def encoded(self, index: int) -> bytes:
        return read(self.root / self.examples[index].path)

    def content_hash(self, index: int) -> str:
        try:
            return hashlib.sha256(self.encoded(index)).hexdigest()
        except ImageError as reason:
            return str(reason)


class SyntheticSource:
    """Procedural scenes, real as rendered, fake through a random up-sampling decoder; kept in memory once made."""

    def __init__(self, split: str, *, size: int, side: int, seed: int):
        self.name, self._key = f"synthetic/{split}", (seed, split, side)
        self._images: dict[int, Image.Image] = {}
        drawn = [synthetic.assignment(split, index) for index in range(size)]
        self.examples: Sequence[Example] = [
            Example(f"{generator}/{'1_fake' if label else '0_real'}/{index:06d}", label, "synthetic", generator)
            for index, (label, generator) in enumerate(drawn)
        ]

    def image(self, index: int) -> Image.Image:
        if index not in self._images:
            seed, split, side = self._key
            self._images[index] = Image.fromarray(synthetic.example(seed, split, index, side)[0])
        return self._images[index]

    def encoded(self, index: int) -> None:
        return None

    def content_hash(self, index: int) -> str:
        return f"{self._key} {index}"


def open_folder(root: str | os.PathLike[str], *, classes: Sequence[str] = (), without: Collection[str] = ()) -> FileSource:
    """Folder in the field's layout -> FileSource: [SUITE/]GENERATOR[/CLASS]/{0_real,1_fake}/*.png ...

    Folders are told apart by depth: where some GENERATOR/0_real stands right below `root`, `root` is one
    suite and deeper folders are classes; otherwise the first level names suites. With `classes`, only
    folders of those names are read; folders `without` of the first level are not.

    Raises:
      DataError: there is no such folder, no 0_real or 1_fake below it, or no image in them.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"no data folder at {root}")
    groups = label_folders(root, without=without)
    root_name = root.absolute().name
    if classes:
        unknown = set(classes) - {part for parts, _ in groups for part in parts}
        if unknown:
            names = sorted({parts[-1] for parts, _ in groups if parts})
            raise DataError(f"no class folder {', '.join(sorted(unknown))} in {root}: there are {', '.join(names) or 'none'}")
        groups = [(parts, name) for parts, name in groups if set(classes) & set(parts)]
    suite_level = bool(groups) and min(len(parts) for parts, _ in groups) >= 2
    examples = []
    above = len(os.path.join(root, "").removeprefix("./"))  # noqa: PTH118
    for parts, name in groups:
        suite, generator = (parts[0], parts[1]) if suite_level else (root_name, parts[0] if parts else root_name)
        for path in image_files(root.joinpath(*parts, name)):
            examples.append(Example(path[above:], LABEL_FOLDERS[name], suite, generator))
    if not examples:
        found = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
        shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "") if found else "nothing"
        raise DataError(
            f"no images to read in {root}: looked for [SUITE/]GENERATOR[/CLASS]/0_real/ and 1_fake/ "
            f"with {'no image in them' if groups else 'images'}; found {shown}"
        )
    return FileSource(root, examples)


def label_folders(root: Path, *, without: Collection[str] = ()) -> list[tuple[tuple[str, ...], str]]:
    """-> (folders above it, its name) of each 0_real and 1_fake below `root`. Raises DataError for an unreadable folder."""
    groups: list[tuple[tuple[str, ...], str]] = []
    for directory, folders, files in walk(root):
        parts = directory.relative_to(root).parts
        if LABEL_FOLDERS.keys() & set(parts):  # read with the label folder above
            continue
        if parts and parts[0] in without:
            continue
        if files is None:
            raise DataError(f"the data folder {directory} cannot be read")
        groups += [(parts, name) for name in LABEL_FOLDERS if name in folders]
    return groups


def folders_above_label(path: str) -> tuple[str, ...]:
    """Path of an example below 0_real or 1_fake -> the folders above that."""
    parts = Path(path).parts
    return parts[: next(place for place, part in enumerate(parts) if part in LABEL_FOLDERS)]


def open_files(paths: Sequence[str | os.PathLike[str]]) -> FileSource:
    """Files, and folders searched through, in the order given -> FileSource without labels. A missing file is kept."""
    files = [file for path in map(Path, paths) for file in (list_images(path) if path.is_dir() else [path])]
    return FileSource(Path(), [Example(str(file)) for file in files])


def open_split(config: ConfigDict, split: str, *, seed: int) -> Source:
    """Data config and "train", "val" or "test" -> Source.

    Raises:
      DataError: the split is not there, or one of its labels is missing.
    """
    from lfm_jax.data import records

    if config.source == "synthetic":
        options = config.synthetic
        return SyntheticSource(split, size=options[split], side=options.side, seed=seed)
    if not config.root:
        raise DataError("config.data.root is empty: give the folder that holds train/ and val/, or prepared data")
    if split == "test" and config.test_root:
        return open_tests(config.test_root)
    classes = [name for name in config.classes.split(",") if name and split != "test"]
    if config.source == "tfds":
        source: Source = records.open_split(config.root, config.name, split, classes=classes)
    else:
        source = _open_split_folder(Path(config.root).expanduser(), split, classes)
    if split != "test" and len({example.label for example in source.examples}) < 2:
        raise DataError(f"{source.name} has images of one label only: both 0_real/ and 1_fake/ are needed")
    return source


def open_tests(root: str | os.PathLike[str]) -> Source:
    """Labelled images to be scored: BUILT_IN, the test splits of prepared data where `root` holds such, else a folder.

    Raises:
      DataError: nothing to read there.
    """
    from lfm_jax.data import records

    if root == BUILT_IN:
        return SyntheticSource("test", size=synthetic.SIZES["test"], side=synthetic.SIDE, seed=0)
    return records.open_all(root, "test") if records.find_prepared(root) else open_folder(root)


def open_validation(root: str | os.PathLike[str]) -> "FileSource | JoinedSource":
    """Labelled images to fit on: the val splits of prepared data where `root` holds such, else a folder. Raises DataError.

    Prepared data without a val split gives its test splits, which `calibrate.leak` tells.
    """
    from lfm_jax.data import records

    prepared = records.find_prepared(root)
    if not prepared:
        return open_folder(root)
    there = {split for folder in prepared.values() for split in records.splits(folder)}
    return records.open_all(root, "test" if "test" in there and "val" not in there else "val")


def has_test(config: ConfigDict) -> bool:
    """Whether the data config names, or its root holds, a test split."""
    from lfm_jax.data import records

    if config.source == "synthetic" or config.test_root:
        return True
    if config.source == "tfds":
        return "test" in records.splits(records.choose(config.root, config.name))
    return (Path(config.root).expanduser() / "test").is_dir()


def _open_split_folder(root: Path, split: str, classes: Sequence[str]) -> FileSource:
    if not (root / split).is_dir():
        found = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else None
        what = "no such folder" if found is None else f"found {', '.join(found[:8]) or 'nothing'}"
        raise DataError(f"config.data.root = {root}: looked for {split}/GROUP/0_real/ and 1_fake/, {what}")
    return open_folder(root / split, classes=classes)
