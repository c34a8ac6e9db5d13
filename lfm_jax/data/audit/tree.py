"""A data set's folders as they are on disk, whatever is wrong with them: which image belongs where, and what belongs nowhere.

Suites, one suite, train/val/test, or any folders with 0_real and 1_fake: they are told apart as `open_folder` does for
training and evaluation.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lfm_jax.data import suites
from lfm_jax.data.listing import Passed, kind_unless_image, walk
from lfm_jax.data.sources.base import LABEL_FOLDERS, Labels, meant_label
from lfm_jax.errors import DataError
from lfm_jax.runtime.paths import expanded


class Place(NamedTuple):
    """Where images belong. `split` and `class_name` are "" if there is none, `generator` for a suite as a whole."""

    split: str
    suite: str
    generator: str
    class_name: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


@dataclass
class Tree:
    """The files of a data set, by path relative to `root`.

    Attributes:
      labels: the names of the label folders.
      images: of each place, the files in each of its label folders that exist, which are called 0_real and 1_fake here.
      not_images: other files in label folders, and what kind of file each is.
      outside: images in no label folder; nothing reads them.
      unreadable: folders that cannot be listed.
      misspelt: folders that are not read, and the label folder each was probably meant to be.
      both_labels: folders of one label within one of the other.
      hidden: the number of hidden or tool folders, and of hidden images; nothing reads them.
    """

    root: Path
    labels: Labels = field(default_factory=lambda: LABEL_FOLDERS)
    images: dict[Place, dict[str, list[str]]] = field(default_factory=dict)
    not_images: list[tuple[str, str]] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    misspelt: list[tuple[str, str]] = field(default_factory=list)
    both_labels: list[str] = field(default_factory=list)
    hidden: Passed = field(default_factory=Passed)


def read_tree(root: str | os.PathLike[str], labels: Labels = LABEL_FOLDERS) -> Tree:
    """Lists a folder. Raises DataError if it does not exist, or has no 0_real or 1_fake, or what `labels` calls them, below it."""
    tree, plain_name = Tree(expanded(root), labels), list(LABEL_FOLDERS)
    if not tree.root.is_dir():
        raise DataError(f"no data folder at {tree.root}")
    labelled: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for directory, subfolders, files in walk(tree.root, tree.hidden):
        parts = directory.relative_to(tree.root).parts
        prefix = "".join(f"{part}/" for part in parts)
        if files is None:
            tree.unreadable.append(prefix or "./")
        at = next((index for index, part in enumerate(parts) if part in labels), None)
        images = tree.outside if at is None else labelled.setdefault(parts[:at], {}).setdefault(plain_name[labels[parts[at]]], [])
        if at is None:
            near = [(name, meant_label(name, labels)) for name in subfolders]
            tree.misspelt += [(f"{prefix}{name}/", label) for name, label in near if label and label not in subfolders]
        elif any(labels.get(part, labels[parts[at]]) != labels[parts[at]] for part in parts[at:]):
            tree.both_labels.append(prefix)
        for name in files or ():
            kind = kind_unless_image(str(directory / name))
            if kind is None:
                images.append(prefix + name)
            elif at is not None:
                tree.not_images.append((prefix + name, kind))
    if not labelled:
        hint = f"; {tree.misspelt[0][0]} is there, did you mean {tree.misspelt[0][1]}/?" if tree.misspelt else ""
        layout = f"[SPLIT/][SUITE/]GENERATOR[/CLASS]/ with {' and '.join(labels)}"
        raise DataError(f"nothing to check in {tree.root}: looked for {layout}{hint}")
    for parts, place in _places(tree.root.absolute().name, labelled).items():
        for label, paths in labelled[parts].items():
            tree.images.setdefault(place, {}).setdefault(label, []).extend(paths)
    return tree


def _places(root_name: str, folders: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], Place]:
    """The place of each path above label folders. A split is train, val or test, above the suite or right below it."""
    by_split: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = {}
    for parts in folders:
        split = next((part for part in parts[:2] if part in suites.SPLITS), "")
        at = parts.index(split) if split else len(parts)
        by_split.setdefault(split, {})[parts] = parts[:at] + parts[at + 1 :]
    places = {}
    for split, group in by_split.items():
        names_suites = min(map(len, group.values())) >= 2 and not suites.find(root_name)  # the first level does
        for parts, rest in group.items():
            has_suite = bool(rest) and (names_suites or suites.find(rest[0]) is not None)
            suite, below = (rest[0], rest[1:]) if has_suite else (root_name, rest)
            places[parts] = Place(split, suite, below[0] if below else suite, "/".join(below[1:]))
    return places
