"""Images in folders: the field's layout with labels, or any files without.

In: a folder or paths. Out: a `FileSource`.
"""

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from PIL import Image

from lfm_jax.data.images import ImageError, decode, image_files, list_images, read, walk
from lfm_jax.data.sources.base import LABEL_FOLDERS, Example
from lfm_jax.errors import DataError


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


def open_files(paths: Sequence[str | os.PathLike[str]]) -> FileSource:
    """Files, and folders searched through, in the order given -> FileSource without labels. A missing file is kept."""
    files = [file for path in map(Path, paths) for file in (list_images(path) if path.is_dir() else [path])]
    return FileSource(Path(), [Example(str(file)) for file in files])
