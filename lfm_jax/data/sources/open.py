"""A data config, or a folder, to the `Source` that it means."""

import os
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from lfm_jax.data import synthetic
from lfm_jax.data.sources import records
from lfm_jax.data.sources.base import JoinedSource, Source
from lfm_jax.data.sources.drawn import SyntheticSource
from lfm_jax.data.sources.folder import FileSource, open_folder
from lfm_jax.errors import DataError

BUILT_IN = "builtin"  # in place of a folder to be scored: generators that no training split has, the same images everywhere


def open_split(config: ConfigDict, split: str, *, seed: int) -> Source:
    """Data config and "train", "val" or "test" -> Source.

    Raises:
      DataError: the split is not there, or one of its labels is missing.
    """
    if config.source == "synthetic":
        options = config.synthetic
        return SyntheticSource(split, size=options[split], side=options.side, seed=seed)
    if not config.root:
        raise DataError("config.data.root is empty: give the folder that holds train/ and val/, or prepared data")
    if split == "test" and config.test_root:
        return open_tests(config.test_root)
    classes = [name for name in config.classes.split(",") if name and split != "test"]
    if config.source == "tfds":
        source: Source = records.open_prepared_split(config.root, config.name, split, classes=classes)
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
    if root == BUILT_IN:
        return SyntheticSource("test", size=synthetic.SIZES["test"], side=synthetic.SIDE, seed=0)
    return records.open_prepared(root, "test") if records.find_prepared(root) else open_folder(root)


def open_validation(root: str | os.PathLike[str]) -> FileSource | JoinedSource:
    """Labelled images to fit on: the val splits of prepared data where `root` holds such, else a folder. Raises DataError.

    Prepared data without a val split gives its test splits, which `calibrate.leak` tells.
    """
    prepared = records.find_prepared(root)
    if not prepared:
        return open_folder(root)
    there = {split for folder in prepared.values() for split in records.splits(folder)}
    return records.open_prepared(root, "test" if "test" in there and "val" not in there else "val")


def has_test(config: ConfigDict) -> bool:
    """Whether the data config names, or its root holds, a test split."""
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
