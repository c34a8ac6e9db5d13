"""`lfm data prepare`: folders of images -> ArrayRecord data sets, verified, resumable, and never visible half-finished.

The output folder gets NAME/VERSION/ for each data set (records, index, TFDS's description), left_out.tsv, and .prepare/
with the journal of what was verified. Each data set is built and read back under .prepare/ and then moved to its place
by one rename.
"""

import contextlib
import csv
import errno
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lfm_jax.data.prepare.beam import Beam
from lfm_jax.data.prepare.build import difference, first_damage, first_damage_on_beam, publish, write_data_set
from lfm_jax.data.prepare.layout import VERSION, Part, find_parts
from lfm_jax.data.prepare.verify import ChangedFileError, Contents, Journal, inspect_on_beam, verify_part
from lfm_jax.errors import DataError, UserError, first_line
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.progress import say

SAMPLE = 16  # records read from each split of a data set that is already finished


@dataclass(frozen=True)
class Prepared:
    """A data set in its place. `written` tells whether it was built now or was already there."""

    folder: Path
    contents: Mapping[str, Contents]
    written: bool

    @property
    def name(self) -> str:
        return self.folder.parent.name


def prepare_folder(
    root: Path, out: Path, *, suite: str = "", threads: int = 8, whole: bool = False, beam: Beam | None = None
) -> list[Prepared]:
    """Packs the images of a folder into ArrayRecord data sets.

    Files that do not decode are left out and listed in left_out.tsv. After an interruption of any kind, the same call
    resumes; on finished data sets it looks for changed files and reads a sample of the records.

    Args:
      root: suites side by side, one suite, train/val/test, or plain 0_real/ and 1_fake/.
      out: the folder for the data sets.
      suite: prepare only this one.
      threads: that decode, read and hash images.
      whole: read back every record of finished data sets, not a sample.
      beam: hands the work to Apache Beam, whose workers have to see both folders; the data sets are the same.

    Raises:
      UserError: there is nothing to prepare or no such suite, `out` is full or cannot be written, or a file changed
        while it was being prepared.
    """
    root, out = expanded(root).absolute(), expanded(out).absolute()  # workers may start in other folders
    data_sets: dict[str, list[Part]] = {}
    for part in find_parts(root, suite=suite):
        data_sets.setdefault(part.dataset, []).append(part)
    with _workshop(out) as workshop, Journal(workshop / "journal.jsonl") as journal:
        sample = 0 if whole else SAMPLE
        prepared = [_prepare_data_set(parts, out, workshop, journal, threads, sample, beam) for parts in data_sets.values()]
        _write_left_out(prepared, out / "left_out.tsv")
    return prepared


def _prepare_data_set(
    parts: Sequence[Part], out: Path, workshop: Path, journal: Journal, threads: int, sample: int, beam: Beam | None
) -> Prepared:
    name = parts[0].dataset
    if beam:
        inspect_on_beam(parts, journal, beam, workshop / "inspections")
    contents = {part.split: verify_part(part, journal, threads=threads) for part in parts}

    def find_damage(data_set: Path, sample: int) -> str:
        if beam and not sample:
            return first_damage_on_beam(data_set, contents, beam, workshop / "read_back")
        return first_damage(data_set, contents, sample=sample, threads=threads)

    final = out / name / VERSION
    if final.is_dir():
        reason = difference(final, contents) or find_damage(final, sample)
        if not reason:
            return Prepared(final, contents, written=False)
        say(f"{name} is prepared again: {reason}")
    try:
        data_set = write_data_set(name, contents, workshop / "building", threads=threads, beam=beam)
    except ChangedFileError as error:
        journal.forget(error.file)
        raise
    damage = find_damage(data_set, 0)
    if damage:
        raise DataError(f"what was written to {data_set} is not what was read: {damage}")
    publish(data_set, final, workshop)
    return Prepared(final, contents, written=True)


@contextlib.contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """OUT/.prepare, held by this process alone. Errors of the disk come out as UserError."""
    workshop = out / ".prepare"
    try:
        workshop.mkdir(parents=True, exist_ok=True)
        with open(workshop / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another lfm data prepare is at work in {out}: wait for it to end") from None
            yield workshop
    except OSError as error:
        advice = ": make room and run the same command again" if error.errno == errno.ENOSPC else ""
        raise UserError(f"cannot write to {out}: {error.strerror or first_line(error)}{advice}") from None


def _write_left_out(data_sets: Sequence[Prepared], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("dataset", "split", "path", "reason"))
        for prepared in data_sets:
            for split, verified in prepared.contents.items():
                writer.writerows((prepared.name, split, *line) for line in verified.left_out)
