"""Finds the data sets in a folder as users have it: suites side by side, one suite, train/val/test, or plain folders.

A folder with the name of a known suite belongs to that suite. All other folders with 0_real/ and 1_fake/ together
become the data set real_fake_folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lfm_jax.data import suites
from lfm_jax.data.sources.base import Example, folders_above_label
from lfm_jax.data.sources.folder import label_folders, open_folder
from lfm_jax.data.sources.index import Examples
from lfm_jax.data.suites import SPLITS, Suite
from lfm_jax.errors import DataError, UserError

GENERIC = "real_fake_folder"
VERSION = "1.0.0"  # of prepared data sets


@dataclass(frozen=True)
class Part:
    """One split of one data set. The paths of its examples are relative to `folder`."""

    dataset: str
    split: str
    folder: Path
    examples: Sequence[Example]

    def class_of(self, example: Example) -> str:
        """The folders between the generator and the label; in training splits, all folders above the label."""
        above = folders_above_label(example.path)
        if self.split == "test":
            for prefix in ((example.suite, example.generator), (example.generator,)):
                if above[: len(prefix)] == prefix:
                    above = above[len(prefix) :]
                    break
        return "/".join(above)


def find_parts(root: Path, *, suite: str = "") -> list[Part]:
    """Finds the splits of all data sets in a folder.

    Args:
      root: the folder.
      suite: the name of the only suite to look for. If no folder has that name, `root` itself is the suite.

    Raises:
      UserError: there is no suite of that name; suggests the nearest.
      DataError: `root` does not exist, holds nothing to prepare, or holds one split twice.
    """
    if not root.is_dir():
        raise DataError(f"no data folder at {root}")
    parts = list(_find(root, _parse_suite(suite)))
    folders: dict[tuple[str, str], Path] = {}
    for part in parts:
        other = folders.setdefault((part.dataset, part.split), part.folder)
        if other != part.folder:
            raise DataError(
                f"split {part.split} of {part.dataset} appears twice, in {other} and {part.folder}: remove or rename one"
            )
    return parts


def _parse_suite(name: str) -> Suite | str:
    """The suite of that name, GENERIC, or "" for everything in the folder."""
    if name in ("", GENERIC):
        return name
    suite = suites.find(name)
    if suite is None:
        near = suites.nearest(name)
        hint = f", did you mean {near.dataset}?" if near else "."
        known = ", ".join(suite.dataset for suite in suites.SUITES)
        raise UserError(f"--suite={name}: no such suite{hint} Expected one of {known}, {GENERIC} (any other folders)")
    return suite


def _find(root: Path, only: Suite | str) -> Iterator[Part]:
    subfolders = sorted(path for path in root.iterdir() if path.is_dir())
    suite_folders = {path: suite for path in subfolders if (suite := suites.find(path.name))}
    root_suite = suites.find(root.absolute().name)
    if isinstance(only, Suite):
        matching = {path: suite for path, suite in suite_folders.items() if suite is only}
        if suite_folders and not matching and root_suite is not only:
            names = ", ".join(path.name for path in suite_folders)
            raise DataError(f"no folder of {only.name} in {root}: there are {names}")
        suite_folders, root_suite = matching, only
    elif only == GENERIC:
        suite_folders, root_suite = {}, None
    if root_suite and not suite_folders:
        suite_folders = {root: root_suite}
    for folder, suite in suite_folders.items():
        for split, split_folder in _split_folders(folder).items():
            examples = Examples(_as_in_suite(example, suite, split) for example in open_folder(split_folder).examples)
            yield Part(suite.dataset, split, split_folder, examples)
    if not root_suite:
        yield from _generic_parts(root, [path.name for path in suite_folders], required=not suite_folders)


def _generic_parts(root: Path, suite_folders: Sequence[str], *, required: bool) -> Iterator[Part]:
    """Training splits and test folders that belong to no suite. If `required`, their absence is an error."""
    split_folders = {split: root / split for split in SPLITS if (root / split).is_dir() and split not in suite_folders}
    for split, folder in split_folders.items():
        yield Part(GENERIC, split, folder, open_folder(folder).examples)
    without = [*suite_folders, *split_folders]
    if (required and not split_folders) or label_folders(root, without=without):
        yield Part(GENERIC, "test", root, open_folder(root, without=without).examples)


def _split_folders(folder: Path) -> dict[str, Path]:
    """The folders of a suite's splits; a suite without any of them is a test split as a whole."""
    return {split: folder / split for split in SPLITS if (folder / split).is_dir()} or {"test": folder}


def _as_in_suite(example: Example, suite: Suite, split: str) -> Example:
    generator = Path(example.path).parts[0]
    if split != "test" and suite.training_generator:
        generator = suite.training_generator
    return replace(example, suite=suite.name, generator=generator)
