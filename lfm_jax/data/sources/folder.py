"""Images in folders: labelled ones in the layout that the field uses, or any image files without labels."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from lfm_jax.data.images import ImageError, decode, read
from lfm_jax.data.listing import Passed, image_files, list_images, walk
from lfm_jax.data.sources.base import EXAMPLE, LABEL_FOLDERS, Example, Labels, meant_label, names_of
from lfm_jax.data.sources.index import in_columns
from lfm_jax.errors import DataError
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.progress import say
from lfm_jax.runtime.storage import is_remote

NAMED_ENTRIES = 8  # of a folder, in a message

LabelFolder = tuple[tuple[str, ...], str]  # the folders above it, and its own name


class FileSource:
    """Image files; the path of each example is relative to `root`."""

    def __init__(self, root: Path, examples: Iterable[Example], *, name: str = ""):
        self.root, self.examples, self.name = root, in_columns(examples), name or str(root)

    def image(self, index: int) -> Image.Image:
        return decode(self.root / self.examples[index].path)

    def encoded(self, index: int) -> bytes:
        return read(self.root / self.examples[index].path)

    def content_hash(self, index: int) -> str:
        try:
            return hashlib.sha256(self.encoded(index)).hexdigest()
        except ImageError as error:
            return str(error)


def open_folder(
    root: str | os.PathLike[str],
    *,
    classes: Collection[str] = (),
    without: Collection[str] = (),
    labels: Labels = LABEL_FOLDERS,
) -> FileSource:
    """Lists the labelled images of a folder: [SUITE/]GENERATOR[/CLASS]/{0_real,1_fake}/*.png and so on.

    Suites and classes are told apart by depth: if any GENERATOR/0_real lies right below `root`, then `root` is a single
    suite and deeper folders are classes; otherwise the first level names suites.

    Args:
      root: the folder.
      classes: read only what lies in folders of these names; empty for everything.
      without: folders of the first level to leave out.
      labels: the names of the label folders, where they are not 0_real and 1_fake.

    Raises:
      DataError: there is no such folder, no 0_real or 1_fake below it, no image in those, or one of them inside the other.
    """
    root = expanded(root)
    if not root.is_dir():
        raise DataError(f"no data folder at {root}")
    passed, misspelt = Passed(), list[str]()
    folders = label_folders(root, without=without, misspelt=misspelt, labels=labels)
    if classes:
        folders = _of_classes(folders, set(classes), root)
    examples = in_columns(_examples(root, folders, passed, labels))
    if not examples:
        layout = f"[SUITE/]GENERATOR[/CLASS]/{names_of(labels)}"
        also = [f"found {entries_of(root)}", *misspelt[:1], *([f"not read: {passed}"] if passed else [])]
        what = "no image in them" if folders else f"images (labels such as {EXAMPLE} name other folders)"
        raise DataError(f"no images to read in {root}: looked for {layout} with {what}; {'; '.join(also)}")
    passed.tell(root)
    for hint in misspelt:
        say(f"{root}: {hint}")
    return FileSource(root, examples)


def label_folders(
    root: Path, *, without: Collection[str] = (), misspelt: list[str] | None = None, labels: Labels = LABEL_FOLDERS
) -> list[LabelFolder]:
    """Every 0_real and 1_fake, or folder named in `labels`, below `root`, except below the first-level folders `without`.

    Folders that are probably meant to be one of them are added to `misspelt`, in words.

    Raises:
      DataError: a folder on the way cannot be listed.
    """
    folders: list[LabelFolder] = []
    for directory, subfolders, files in walk(root):
        above = directory.relative_to(root).parts
        if labels.keys() & set(above):  # inside a label folder: read together with it
            continue
        if above and above[0] in without:
            continue
        if files is None:
            raise DataError(f"the data folder {directory} cannot be read")
        folders += [(above, name) for name in labels if name in subfolders]
        if misspelt is not None:
            near = [(name, meant_label(name, labels)) for name in subfolders]
            misspelt += [
                f"{'/'.join((*above, name))}/ is not read, did you mean {label}/?"
                for name, label in near
                if label and label not in subfolders
            ]
    return folders


def open_files(paths: Sequence[str | os.PathLike[str]], passed: Passed | None = None, *, videos: bool = False) -> FileSource:
    """Images without labels, and `videos` where asked for, in the order given: files, and folders searched at every depth.

    Archives stay in the list as they are where they are named; those inside folders are passed over. A file that does not
    exist stays in the list, so that scoring names it.

    Args:
      passed: counts what was passed over, which is said at once without it.
    """
    tell, passed = passed is None, Passed() if passed is None else passed

    def files() -> Iterator[str | Path]:
        for path in paths:
            local = expanded(path)
            if is_remote(path):
                yield os.fspath(path)
            elif local.is_dir():
                yield from list_images(local, passed, videos=videos)
            else:
                yield local

    source = FileSource(Path(), (Example(str(file)) for file in files()))
    if tell:
        passed.tell(", ".join(map(str, paths[:NAMED_ENTRIES])))
    return source


def entries_of(folder: Path) -> str:
    """The first few entries of a folder, for a message."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return ", ".join(names[:NAMED_ENTRIES]) + ", ..." * (len(names) > NAMED_ENTRIES) or "nothing"


def _of_classes(folders: Sequence[LabelFolder], classes: set[str], root: Path) -> list[LabelFolder]:
    unknown = classes - {part for above, _ in folders for part in above}
    if unknown:
        names = sorted({above[-1] for above, _ in folders if above})
        raise DataError(f"no class folder {', '.join(sorted(unknown))} in {root}: there are {', '.join(names) or 'none'}")
    return [(above, label) for above, label in folders if classes & set(above)]


def _examples(root: Path, folders: Sequence[LabelFolder], passed: Passed, labels: Labels) -> Iterator[Example]:
    root_name = root.absolute().name
    has_suites = bool(folders) and min(len(above) for above, _ in folders) >= 2
    prefix = len(os.path.join(root, "").removeprefix("./"))  # noqa: PTH118
    for above, label in folders:
        suite, generator = above[:2] if has_suites else (root_name, above[0] if above else root_name)
        others = {name for name in labels if labels[name] != labels[label]}
        checked = ""
        for path in image_files(root.joinpath(*above, label), passed):
            folder = os.path.dirname(path)  # noqa: PTH120
            if folder != checked:
                _refuse_both_labels(root, folder, others, below=len(above) + 1)
                checked = folder
            yield Example(path[prefix:], labels[label], suite, generator)


def _refuse_both_labels(root: Path, folder: str, others: set[str], *, below: int) -> None:
    """Raises DataError if a folder within a label folder belongs to the other label, by its own path or by that of a link."""
    parts = Path(folder).relative_to(root).parts[below:]
    if parts and (crossed := others & {*parts, os.path.basename(os.path.realpath(folder))}):  # noqa: PTH119
        raise DataError(f"{folder} lies in a folder of the label opposite to {min(crossed)}/: move or remove one of them")
