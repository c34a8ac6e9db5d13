"""Reads every image file once: does it decode, and what are its hash, size and format?

A journal keeps the answers, so that work which was interrupted anywhere continues from there.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from lfm_jax.data.images import ImageError, opened, read, to_rgb
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.prepare.beam import Beam, take_answers
from lfm_jax.data.prepare.layout import Part
from lfm_jax.data.prepare.manifest import Range, in_pieces, write_manifest
from lfm_jax.data.sources.base import Example
from lfm_jax.data.sources.records import Facts, parse_line
from lfm_jax.errors import DataError
from lfm_jax.runtime.paths import write_whole
from lfm_jax.runtime.progress import progress, say

FILES_PER_TASK = 200  # of Beam


class ChangedFileError(DataError):
    """A file is not what it was when it was verified; `file` says which."""

    def __init__(self, file: Path):
        super().__init__(f"{file} changed while it was being prepared: run the same command again")
        self.file = file


@dataclass(frozen=True)
class Inspection:
    """What one file turned out to be. `error` says why it cannot be used, and is "" if it can."""

    file: str
    size: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    width: int = 0
    height: int = 0
    container: str = ""
    error: str = ""


@dataclass(frozen=True)
class Contents:
    """A verified split: `files` in the order of the folder, and `left_out`, the other paths with the reason for each."""

    part: Part
    files: Sequence[tuple[Path, Facts]]
    left_out: Sequence[tuple[str, str]]

    @property
    def facts(self) -> list[Facts]:
        return [facts for _, facts in self.files]


class Journal:
    """Inspections on disk, one per line as they are made.

    A file whose size and modification time are those of its inspection is not read again.
    """

    def __init__(self, path: Path):
        self._inspections: dict[str, Inspection] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        readable = [line for line in lines if line.endswith(b"\n") and self._remember(line)]
        if len(readable) < len(lines):  # damaged, or cut short by a kill
            say(f"{path}: {len(lines) - len(readable)} of {len(lines)} lines are damaged; their images are read again")
            write_whole(path, b"".join(readable))
        self._log: IO[str] = open(path, "a", buffering=1)  # noqa: SIM115  # closed by __exit__

    def _remember(self, line: bytes) -> bool:
        """Takes in a line of the file, and tells whether it is a whole one."""
        try:
            inspection = parse_line(Inspection, line)
        except ValueError:
            return False
        self._inspections[inspection.file] = inspection
        return True

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def find(self, file: Path) -> Inspection | None:
        """The inspection of the file as it is now, if there was one."""
        inspection = self._inspections.get(str(file))
        try:
            now = file.stat()
        except OSError:
            return None
        unchanged = inspection and (inspection.size, inspection.mtime_ns) == (now.st_size, now.st_mtime_ns)
        return inspection if unchanged else None

    def note(self, inspection: Inspection) -> None:
        if self._inspections.get(inspection.file) != inspection:
            self._inspections[inspection.file] = inspection
            self._log.write(json.dumps(asdict(inspection)) + "\n")

    def forget(self, file: Path) -> None:
        """Has the file inspected again next time."""
        self.note(Inspection(str(file), mtime_ns=-1))


def inspect_file(file: Path) -> Inspection:
    """Decodes all of an image file and says what it is."""
    try:
        before = file.stat()
        data = read(file)
        with opened(data) as image:
            container = image.format or ""
            width, height = to_rgb(image).size
    except (ImageError, OSError) as error:
        return Inspection(str(file), error=str(error))
    return Inspection(str(file), before.st_size, before.st_mtime_ns, hashlib.sha256(data).hexdigest(), width, height, container)


def inspect_range(files: Range) -> list[dict[str, Any]]:
    """What a worker of Beam does: it inspects the files of a range. Those that cannot be used are left to `verify_part`."""
    return [asdict(inspection) for file in files.rows() if not (inspection := inspect_file(Path(file))).error]


def inspect_on_beam(parts: Sequence[Part], journal: Journal, beam: Beam, folder: Path) -> None:
    """Has Beam inspect what the journal does not know, and notes it, also where the run ends early or an earlier one did."""

    def note_answers() -> None:
        for inspections in take_answers(folder):
            for inspection in inspections:
                journal.note(Inspection(**inspection))

    note_answers()
    files = [part.folder / example.path for part in parts for example in part.examples]
    unknown = [str(file) for file in files if not journal.find(file)]
    if not unknown:
        return
    folder.mkdir()
    ranges = write_manifest(folder / "manifest", in_pieces(unknown, FILES_PER_TASK))
    say(f"verify {len(unknown)} of {len(files)} images in {len(ranges)} tasks of Beam")
    try:
        beam.run(inspect_range, ranges, folder)
    finally:
        note_answers()


def verify_part(part: Part, journal: Journal | None = None, *, threads: int = 8) -> Contents:
    """Inspects every file of a split in `threads` threads, showing progress. What the journal knows is not read again.

    Raises:
      DataError: none of the files can be used.
    """

    def inspect(place: int) -> Inspection:
        file = part.folder / part.examples[place].path
        return (journal and journal.find(file)) or inspect_file(file)

    inspections = read_ahead(inspect, len(part.examples), threads=threads, ahead=4 * threads)
    files, left_out = [], []
    what = f"verify {part.dataset}/{part.split}"
    for example, inspection in zip(part.examples, progress(inspections, total=len(part.examples), what=what), strict=True):
        if inspection.error:  # not noted: its cause, such as a permission, may be gone next time without a trace on the file
            left_out.append((example.path, inspection.error))
            continue
        if journal:
            journal.note(inspection)
        files.append((part.folder / example.path, _facts(part, example, inspection)))
    if not files:
        path, reason = left_out[0]
        raise DataError(f"not one of the {len(left_out)} images in {part.folder} can be used; {path}: {reason}")
    return Contents(part, files, left_out)


def _facts(part: Part, example: Example, inspection: Inspection) -> Facts:
    assert example.label is not None
    return Facts(
        path=example.path,
        label=example.label,
        suite=example.suite,
        generator=example.generator,
        class_name=part.class_of(example),
        sha256=inspection.sha256,
        size=inspection.size,
        width=inspection.width,
        height=inspection.height,
        container=inspection.container,
    )
