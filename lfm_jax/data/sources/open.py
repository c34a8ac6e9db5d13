"""Opens the images that a data config, or a folder, stands for.

`config.data.source` chooses among SOURCES. To train on a source of your own, register a function that opens a split
of it, in a file that `--import=FILE.py` runs:

    from lfm_jax.data.sources import SOURCES

    @SOURCES.register("mine")
    def open_mine(config, split, *, seed):
        return MySource(config.root, split)

See `Source` for what such an object needs, and docs/extending.md for a whole example.
"""

import os
from collections.abc import Sequence
from typing import Protocol

from ml_collections import ConfigDict

from lfm_jax.data import synthetic
from lfm_jax.data.sources import pixels, records
from lfm_jax.data.sources.base import EXAMPLE, LABEL_FOLDERS, Labels, MissingSplitError, Source, names_of, parse_labels
from lfm_jax.data.sources.drawn import SyntheticSource
from lfm_jax.data.sources.folder import FileSource, entries_of, open_folder
from lfm_jax.data.sources.joined import JoinedSource, PartOfSource
from lfm_jax.data.sources.listed import open_list
from lfm_jax.errors import DataError
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.registry import Registry

BUILT_IN = "builtin"  # instead of a folder to be scored: the built-in test images


class OpenSplit(Protocol):
    """Opens "train", "val" or "test" of the data that `config` (`config.data` of a run) describes.

    `seed` is the seed of the run, for sources that draw. Raises MissingSplitError for a split that the data does not have.
    """

    def __call__(self, config: ConfigDict, split: str, /, *, seed: int) -> Source: ...


SOURCES: Registry[OpenSplit] = Registry("data source", "config.data.source")


@SOURCES.register("folder")
def from_folder(config: ConfigDict, split: str, *, seed: int) -> FileSource:
    """ROOT/SPLIT/GROUP/{0_real,1_fake}, or folders of the names in `config.labels`."""
    root, labels = expanded(_root(config)), _labels(config)
    if not (root / split).is_dir():
        state = f"found {entries_of(root)}" if root.is_dir() else "no such folder"
        raise MissingSplitError(f"config.data.root = {root}: looked for {split}/GROUP/{names_of(labels)}, {state}")
    return open_folder(root / split, classes=_classes(config, split), labels=labels)


@SOURCES.register("list")
def from_list(config: ConfigDict, split: str, *, seed: int) -> FileSource:
    """ROOT/SPLIT.csv, with the columns path, label and perhaps group."""
    file = expanded(_root(config)) / f"{split}.csv"
    if not file.is_file():
        state = f"found {entries_of(file.parent)}" if file.parent.is_dir() else "no such folder"
        raise MissingSplitError(f"config.data.root = {file.parent}: looked for {file.name}, {state}")
    return open_list(file, classes=_classes(config, split), labels=_labels(config))


@SOURCES.register("tfds")
def from_prepared(config: ConfigDict, split: str, *, seed: int) -> Source:
    """A split of what `lfm data prepare` or a TFDS builder wrote; for training from stored pixels where `config.pixels` says so."""
    source = records.open_prepared_split(_root(config), config.name, split, classes=_classes(config, split))
    if config.pixels and split == pixels.SPLIT:
        return pixels.PixelSource(source, records.find_one_prepared(_root(config), config.name), config.pixels)
    return source


@SOURCES.register("synthetic")
def from_synthetic(config: ConfigDict, split: str, *, seed: int) -> SyntheticSource:
    """Built-in scenes, as many and as large as `config.synthetic` says."""
    return SyntheticSource(split, size=config.synthetic[split], side=config.synthetic.side, seed=seed)


def open_split(config: ConfigDict, split: str, *, seed: int) -> Source:
    """The images of one split of a run.

    Args:
      config: the data config, `config.data` of a run.
      split: "train", "val" or "test"; the last comes from `config.test_root` where that is set.
      seed: of the run.

    Raises:
      ConfigError: no source is registered under `config.source`.
      DataError: the split cannot be opened, or has images of one label only (train and val).
    """
    if split == "test" and config.test_root:
        return open_tests(config.test_root, labels=_labels(config))
    if config.hold_out and split != "test":
        source = _with_hold_out(config, split, _split(config, "train", seed=seed), seed=seed)
    else:
        source = _split(config, split, seed=seed)
    return source if split == "test" else _of_both_labels(source, config)


def open_training(config: ConfigDict, *, seed: int) -> tuple[Source, Source]:
    """The training and the validation split of a run, as `open_split` opens them, from one listing where groups are held out."""
    if not config.hold_out:
        return open_split(config, "train", seed=seed), open_split(config, "val", seed=seed)
    whole = _split(config, "train", seed=seed)
    train, val = (_with_hold_out(config, split, whole, seed=seed) for split in ("train", "val"))
    return _of_both_labels(train, config), _of_both_labels(val, config)


def _split(config: ConfigDict, split: str, *, seed: int) -> Source:
    return SOURCES.choose(config.source)(config, split, seed=seed)


def _of_both_labels(source: Source, config: ConfigDict) -> Source:
    labels = (example.label for example in source.examples)  # one by one, as there may be very many
    first = next(labels, None)
    if all(label == first for label in labels):
        raise DataError(f"{source.name} has images of one label only: both {names_of(_labels(config))} are needed")
    return source


def _with_hold_out(config: ConfigDict, split: str, train: Source, *, seed: int) -> Source:
    """The training split without the groups that are held out, or the validation split, if there is one, together with them."""
    held_out = names_in(config.hold_out)
    groups = [example.generator for example in train.examples]
    if unknown := set(held_out) - set(groups):
        missing, present = (", ".join(sorted(names)) for names in (unknown, set(groups)))
        raise DataError(f"config.data.hold_out = {config.hold_out}: no group {missing} in train, only {present}")
    part = PartOfSource(train, [index for index, group in enumerate(groups) if (group in held_out) == (split == "val")])
    if split == "train":
        return part
    try:
        return JoinedSource([_split(config, "val", seed=seed), part], name=f"{part.name}: hold_out, and val")
    except MissingSplitError:
        return part


def open_test_split(config: ConfigDict, *, seed: int) -> Source | None:
    """The test split of a run, or None where its data has none."""
    try:
        return open_split(config, "test", seed=seed)
    except MissingSplitError:
        return None


def open_tests(root: str | os.PathLike[str], *, labels: Labels = LABEL_FOLDERS) -> Source:
    """Labelled images to score: the test splits of the prepared data in `root`, or else the folder `root` itself.

    "builtin" stands for the built-in test images: generators that no training split has, the same images everywhere.
    A file is read as a list (see `open_list`). `labels` are the names of label folders.

    Raises:
      DataError: there is nothing to read.
    """
    if root == BUILT_IN:
        _refuse_labels(labels, "the built-in images")
        return SyntheticSource("test", size=synthetic.SIZES["test"], side=synthetic.SIDE, seed=0)
    if not records.find_prepared(root):
        return _open_plain(root, labels)
    _refuse_labels(labels, f"the prepared data in {root}")
    return records.open_prepared(root, "test")


def open_validation(root: str | os.PathLike[str], *, labels: Labels = LABEL_FOLDERS) -> FileSource | JoinedSource:
    """Labelled images to fit a threshold on: the val splits of the prepared data in `root`, or else the folder itself.

    Prepared data that has test splits but no val split gives those; `calibrate.leak` notices and says so.

    Raises:
      DataError: there is nothing to read.
    """
    prepared = records.find_prepared(root)
    if not prepared:
        return _open_plain(root, labels)
    _refuse_labels(labels, f"the prepared data in {root}")
    splits = {split for folder in prepared.values() for split in records.splits_of(folder)}
    return records.open_prepared(root, "test" if "test" in splits and "val" not in splits else "val")


def _open_plain(root: str | os.PathLike[str], labels: Labels) -> FileSource:
    return open_list(root, labels=labels) if expanded(root).is_file() else open_folder(root, labels=labels)


def _refuse_labels(labels: Labels, what: str) -> None:
    if labels != LABEL_FOLDERS:
        raise DataError(f"labels such as {EXAMPLE} name folders, and {what} are labelled already: leave them out")


def _labels(config: ConfigDict) -> Labels:
    return parse_labels(config.labels, field="config.data.labels")


def _root(config: ConfigDict) -> str:
    if not config.root:
        raise DataError("config.data.root is empty: give the folder that holds train/ and val/, or prepared data")
    root: str = config.root
    return root


def _classes(config: ConfigDict, split: str) -> Sequence[str]:
    """The classes to read; a test split is always read whole."""
    return [] if split == "test" else names_in(config.classes)


def names_in(text: str) -> list[str]:
    """The names in a list such as "car,cat"; none in ""."""
    return [name.strip() for name in text.split(",") if name.strip()]
