"""Finding image files in folders: all of them, in one order, and never in silence about what is passed over."""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lfm_jax.data.formats import IMAGE_SUFFIXES
from lfm_jax.data.kinds import IMAGES, VIDEOS, kind_of_file
from lfm_jax.errors import DataError
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.progress import say

TOOL_FOLDERS = {"@eadir", "__macosx", "$recycle.bin", "#recycle", "lost+found", "system volume information"}
HIDDEN_FOLDER, HIDDEN_IMAGE = "hidden or tool folders", "hidden images"
# Opening these to look at their contents would be a waste: a data set may have one of them beside each image.
NEVER_IMAGES = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".md", ".npy", ".npz", ".pt", ".py", ".log")


class Passed(Counter[str]):
    """What a listing has passed over: the number of files of each kind, and of hidden folders."""

    def tell(self, where: object) -> None:
        """Says what it was, if anything, in one line."""
        if self:
            say(f"{where}: not read: {self}")

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in self.most_common())


def listed(file: str) -> list[str]:
    """The paths in a file, or on standard input for "-": one per line, or ended by NUL as `find -print0` writes them.

    Raises:
      DataError: it cannot be read, or names nothing.
    """
    try:
        content = sys.stdin.buffer.read() if file == "-" else expanded(file).read_bytes()
    except OSError as error:
        raise DataError(f"--list={file}: {error.strerror}") from None
    lines = content.split(b"\0") if b"\0" in content else content.replace(b"\r\n", b"\n").split(b"\n")
    paths = [os.fsdecode(line) for line in lines if line.strip()]
    if not paths:
        raise DataError(f"--list={file}: names no files")
    return paths


def list_images(folder: Path, passed: Passed | None = None, *, videos: bool = False) -> Iterator[Path]:
    """Image files, and videos where asked for, at any depth below `folder`, in sorted order; `passed` counts what is passed over.

    They are told by their suffix, and PNG, JPEG, WebP and GIF of any other name by their contents. A folder that cannot
    be listed appears itself, in place of its files, so that decoding it gives the reason.
    """
    return map(Path, image_files(folder, passed, videos=videos))


def image_files(folder: Path, passed: Passed | None = None, *, videos: bool = False) -> Iterator[str]:
    """`list_images` as strings: making a Path of each of 100,000 files takes seconds."""
    for directory, _, files in walk(folder, passed):
        if files is None:
            yield str(directory)
            continue
        above = os.path.join(directory, "").removeprefix("./")  # noqa: PTH118
        for name in files:
            kind = kind_unless_image(above + name)
            if kind is None or (videos and kind in VIDEOS):
                yield above + name
            elif passed is not None:
                passed[kind] += 1


def listing_hash(images: Iterable[str]) -> str:
    """sha256 of a list of images, each told by a line such as its path, in their order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def kind_unless_image(path: str) -> str | None:
    """None for an image file, otherwise what kind of file it is."""
    return kind_of_name_or(path, lambda: kind_of_file(path))


def kind_of_name_or(path: str, look: Callable[[], str]) -> str | None:
    """`kind_unless_image` of a file wherever it lies; `look` tells the kind by the contents where the name does not."""
    name = path.lower()
    if name.endswith(IMAGE_SUFFIXES):
        return None
    suffix = os.path.splitext(name)[1]  # noqa: PTH122
    kind = suffix if name.endswith(NEVER_IMAGES) else look() or suffix or "no suffix"
    return None if kind in IMAGES else kind


def walk(folder: Path, passed: Passed | None = None) -> Iterator[tuple[Path, list[str], list[str] | None]]:
    """Yields (folder, names of its folders, names of its files) for `folder` and everything below it, sorted.

    The files are None if the folder cannot be listed. What is hidden or belongs to a tool is left out. Symbolic links
    are followed, since data sets share their real images that way, except a link back to a folder above itself.
    """
    above_root = tuple(map(str, Path(os.path.realpath(folder)).parents))
    to_visit: list[tuple[Path, tuple[str, ...]]] = [(folder, above_root)]  # not recursive: a tree may be deeper than Python's stack
    while to_visit:
        folder, above = to_visit.pop()
        real = os.path.realpath(folder)
        if real in above:
            continue
        try:
            with os.scandir(folder) as entries:
                contents = sorted((entry.name, _is_folder(entry)) for entry in entries)
        except OSError:
            yield folder, [], None
            continue
        if passed is not None:
            passed.update(filter(None, (_hidden_as(name, is_folder) for name, is_folder in contents)))
        contents = [(name, is_folder) for name, is_folder in contents if not is_hidden(name)]
        folders = [name for name, is_folder in contents if is_folder]
        yield folder, folders, [name for name, is_folder in contents if not is_folder]
        to_visit += [(folder / name, (*above, real)) for name in reversed(folders)]


def is_hidden(name: str) -> bool:
    """Whether an entry of this name was put there by a tool, such as .ipynb_checkpoints, @eaDir or ._photo.jpg."""
    return name.startswith(".") or name.casefold() in TOOL_FOLDERS


def _hidden_as(name: str, is_folder: bool) -> str:
    """What a hidden folder or image counts as; "" for anything else."""
    if not is_hidden(name):
        return ""
    return HIDDEN_FOLDER if is_folder else HIDDEN_IMAGE * name.lower().endswith(IMAGE_SUFFIXES)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: treated as a file, so that decoding it gives the reason
        return False
