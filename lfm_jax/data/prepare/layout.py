"""Where the data sets are in a folder as users have it: suites side by side, one suite, train/val/test, or plain folders.

In: the folder. Out: `Part`s, each a split of a data set with its examples. Folders with the name of a known suite
belong to it; whatever else has 0_real/ and 1_fake/ becomes the data set real_fake_folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lfm_jax.data import suites
from lfm_jax.data.sources.base import Example, folders_above_label
from lfm_jax.data.sources.folder import label_folders, open_folder
from lfm_jax.data.suites import SPLITS, Suite
from lfm_jax.errors import DataError, UserError

GENERIC = "real_fake_folder"


@dataclass(frozen=True)
class Part:
    """One split of the data set `dataset`; the paths of its examples are relative to `folder`."""

    dataset: str
    split: str
    folder: Path
    examples: Sequence[Example]

    def class_of(self, example: Example) -> str:
        """The folders between the generator and the label; in training splits those above the label are the class."""
        above = folders_above_label(example.path)
        if self.split == "test":
            for prefix in ((example.suite, example.generator), (example.generator,)):
                if above[: len(prefix)] == prefix:
                    above = above[len(prefix) :]
                    break
        return "/".join(above)


def find_parts(root: Path, *, suite: str = "") -> list[Part]:
    """Folder -> its data sets' splits. With the name of a `suite`, only that one; it is `root` itself where no folder has its name.

    Raises:
      UserError: there is no suite of that name, with the nearest.
      DataError: `root` is missing, nothing is there, or one split was found twice.
    """
    if not root.is_dir():
        raise DataError(f"no data folder at {root}")
    parts = list(_find(root, _wanted(suite)))
    seen: dict[tuple[str, str], Path] = {}
    for part in parts:
        other = seen.setdefault((part.dataset, part.split), part.folder)
        if other != part.folder:
            raise DataError(f"split {part.split} of {part.dataset} is there twice, in {other} and {part.folder}: keep one")
    return parts


def _wanted(name: str) -> Suite | str:
    """The suite of that name, GENERIC, or "" for all there are."""
    if name in ("", GENERIC):
        return name
    suite = suites.find(name)
    if suite is None:
        near = suites.nearest(name)
        meant = f", did you mean {near.dataset}?" if near else ""
        known = ", ".join(suite.dataset for suite in suites.SUITES)
        raise UserError(f"--suite={name}: no such suite{meant} There are {known} and {GENERIC} (any other folders)")
    return suite


def _find(root: Path, wanted: Suite | str) -> Iterator[Part]:
    children = sorted(path for path in root.iterdir() if path.is_dir())
    known = {path: suite for path in children if (suite := suites.find(path.name))}
    own = suites.find(root.absolute().name)
    if isinstance(wanted, Suite):
        chosen = {path: suite for path, suite in known.items() if suite is wanted}
        if known and not chosen and own is not wanted:
            raise DataError(f"no folder of {wanted.name} in {root}: there are {', '.join(path.name for path in known)}")
        known, own = chosen, wanted
    elif wanted == GENERIC:
        known, own = {}, None
    if own and not known:
        known = {root: own}
    for folder, suite in known.items():
        for split, below in _splits(folder).items():
            examples = [_of_suite(example, suite, split) for example in open_folder(below).examples]
            yield Part(suite.dataset, split, below, examples)
    if not own:
        yield from _generic(root, [path.name for path in known], required=not known)


def _generic(root: Path, known: Sequence[str], *, required: bool) -> Iterator[Part]:
    """Training splits and test folders that belong to no suite; an error where they are `required` and not there."""
    split_folders = {split: root / split for split in SPLITS if (root / split).is_dir() and split not in known}
    for split, folder in split_folders.items():
        yield Part(GENERIC, split, folder, open_folder(folder).examples)
    without = [*known, *split_folders]
    if (required and not split_folders) or label_folders(root, without=without):
        yield Part(GENERIC, "test", root, open_folder(root, without=without).examples)


def _splits(folder: Path) -> dict[str, Path]:
    """A suite is split into train/, val/ and test/, or all of it is test."""
    return {split: folder / split for split in SPLITS if (folder / split).is_dir()} or {"test": folder}


def _of_suite(example: Example, suite: Suite, split: str) -> Example:
    generator = Path(example.path).parts[0]
    if split != "test" and suite.training_generator:
        generator = suite.training_generator
    return replace(example, suite=suite.name, generator=generator)
