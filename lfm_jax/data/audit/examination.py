"""Every file of a data set read once, by threads of this process or by workers of Apache Beam, with the same results."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lfm_jax.data.audit.duplicates import Duplicates, ExaminedImage, describe, examine, find_duplicates
from lfm_jax.data.audit.formats import Format
from lfm_jax.data.audit.tree import Place, Tree
from lfm_jax.data.images import has_deep_values
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.prepare.beam import Beam, answers, groups
from lfm_jax.data.prepare.manifest import Range, in_pieces, write_manifest
from lfm_jax.runtime.progress import progress, say

AHEAD = 256  # files, of which only hashes and formats are kept
FILES_PER_TASK = 200  # of Beam
AUDITED = 100_000  # files of each label in a place whose formats are compared; of more, as many that are spread evenly


class File(NamedTuple):
    """A file to be read. Of some only hashes are wanted, and not whether their format gives them away: see AUDITED."""

    path: str
    place: Place
    label: str
    audited: bool


@dataclass
class Examination:
    """What became of all files of a tree.

    Attributes:
      images: how many there are.
      unreadable: the path and the reason of each that cannot be used.
      deep: the path and the mode of each with more than 8 bits.
      formats: of each place and label, of the files that are audited.
      duplicates: see `find_duplicates`.
    """

    images: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    deep: list[tuple[str, str]] = field(default_factory=list)
    formats: dict[tuple[Place, str], list[Format]] = field(default_factory=dict)
    duplicates: Duplicates = field(default_factory=list)

    def note(self, file: File, *, error: str = "", mode: str = "", form: Format | None = None) -> None:
        """Takes in what became of one file, in the order of the tree."""
        if error:
            self.unreadable.append((file.path, error))
        if has_deep_values(mode):
            self.deep.append((file.path, mode))
        if form:
            self.formats.setdefault((file.place, file.label), []).append(form)


def files_of(tree: Tree) -> list[File]:
    """All labelled files of a tree, in its order."""
    return [
        File(path, place, label, audited=number % -(-len(paths) // AUDITED) == 0)
        for place, labels in tree.images.items()
        for label, paths in labels.items()
        for number, path in enumerate(paths)
    ]


def examine_here(tree: Tree, threads: int) -> Examination:
    """Reads all files in threads of this process, with progress."""
    files = files_of(tree)
    examination = Examination(len(files))

    def noted() -> Iterator[ExaminedImage]:
        images = read_ahead(lambda number: examine(tree.root, *files[number][:3]), len(files), threads=threads, ahead=AHEAD)
        for file, image in zip(files, progress(images, total=len(files), what="check"), strict=True):
            form = image.format
            examination.note(file, error=image.error, mode=form.mode if form else "", form=form if file.audited else None)
            yield image

    examination.duplicates = find_duplicates(noted())
    return examination


def examine_on_beam(tree: Tree, beam: Beam, folder: Path) -> Examination:
    """Has Beam's workers read all files. `folder`, which is empty, and the images have to be where they see them.

    Duplicates come together by the hash of their pixels on the workers, so no process holds the hashes of all files.
    """
    files = files_of(tree)
    examination = Examination(len(files))
    ranges = write_manifest(folder / "manifest", in_pieces(files, FILES_PER_TASK))
    say(f"check {len(files)} images in {len(ranges)} tasks of Beam")
    root, work = str(tree.root.absolute()), folder / "work"
    beam.run(examine_range, [(root, part) for part in ranges], work, grouped=True)
    for answer in answers(work):
        for number, noted in answer:
            form = noted.pop("form", None)
            examination.note(files[number], **noted, form=Format(*form) if form else None)
    for group in sorted(map(sorted, groups(work))):  # in the order of the tree, by the first of each group
        copies = []
        for number, sha256 in group:
            file = files[number]
            copies.append(ExaminedImage(file.path, file.place, file.label, bytes.fromhex(sha256)))
        examination.duplicates.append(describe(copies))
    return examination


def examine_range(task: tuple[str, Range]) -> tuple[list[Any], list[tuple[bytes, Any]]]:
    """What a worker of Beam does: it reads the files of a range.

    Returns:
      What there is to note of each by its number in the manifest, as of `Examination.note`; of each the hash of the pixels, with
      its number and the hash of the file.
    """
    root, part = task
    notes, hashes = list[Any](), list[tuple[bytes, Any]]()
    for number, (path, place, label, audited) in enumerate(part.rows(), start=part.first):
        image = examine(Path(root), path, Place(*place), label)
        if image.format is None:
            notes.append((number, {"error": image.error}))
            continue
        noted: dict[str, Any] = {"form": astuple(image.format)} if audited else {}
        noted |= {"mode": image.format.mode} if has_deep_values(image.format.mode) else {}
        notes += [(number, noted)] if noted else []
        hashes.append((image.pixels, (number, image.sha256.hex())))
    return notes, hashes
