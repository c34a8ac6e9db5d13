"""One prepared data set: written by TFDS, read back record by record, and moved to its place by one rename."""

import contextlib
import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.prepare.beam import Beam, take_answers
from lfm_jax.data.prepare.manifest import Range, in_pieces, write_manifest
from lfm_jax.data.prepare.verify import Contents
from lfm_jax.data.sources.records import DamagedDataError, Facts, TfdsRecords, read_index, splits_of, write_index
from lfm_jax.errors import DataError, UserError, first_line
from lfm_jax.runtime.progress import progress

ROOM = 1.05  # disk space needed, as a multiple of the images' bytes: ArrayRecord and the index add a little
RECORDS_PER_TASK = 1000  # of Beam
AHEAD = 64  # records, of which only the fault is kept


def write_data_set(
    name: str, contents: Mapping[str, Contents], folder: Path, *, threads: int = 8, beam: Beam | None = None
) -> Path:
    """Writes a data set below `folder`, which is emptied first, and returns the data set's own folder.

    Raises:
      UserError: the disk has no room for it, or cannot be written.
      ChangedFileError: a file is not what it was when it was verified.
    """
    import tensorflow_datasets as tfds

    from lfm_jax.data.prepare.tfds_builders import BUILDERS

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    needed = sum(facts.size for split in contents.values() for facts in split.facts) * ROOM
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{name} needs {needed / 1e9:.2f} GB in {folder.parent.parent}, but only {free / 1e9:.2f} GB are free")
    tfds.disable_progress_bar()  # ours is shown instead
    builder = BUILDERS[name](data_dir=str(folder), file_format="array_record")
    builder.contents, builder.threads = contents, threads
    config = tfds.download.DownloadConfig(beam_options=beam.options, beam_runner=beam.runner) if beam else None
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            builder.download_and_prepare(download_dir=str(folder / "downloads"), download_config=config)
        except RuntimeError as error:  # of ArrayRecord, when a disk is full or failing
            raise UserError(f"cannot write {name}: {first_line(error)}: make room and run the same command again") from None
    data_set = Path(builder.data_dir)
    for split, verified in contents.items():
        write_index(data_set, split, verified.facts)
    return data_set


def publish(data_set: Path, final: Path, workshop: Path) -> None:
    """Moves a finished data set from the workshop to its final place, replacing what is there."""
    final.parent.mkdir(exist_ok=True)
    old = workshop / "old"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    data_set.rename(final)
    for leftover in (old, workshop / "building"):
        shutil.rmtree(leftover, ignore_errors=True)


def difference(data_set: Path, contents: Mapping[str, Contents]) -> str:
    """In what the prepared data set and the folders as they are now differ, in words; "" if they do not."""
    try:
        splits = splits_of(data_set)
        indices = {split: read_index(data_set, split) or () for split in splits}
    except DamagedDataError as error:
        return str(error)
    if set(splits) != set(contents):
        return f"its splits were {', '.join(splits)}, now they are {', '.join(contents)}"
    for split, verified in contents.items():
        before, now = set(indices[split]), set(verified.facts)
        if before != now:
            changed = sorted({facts.path for facts in before ^ now})
            return f"{len(changed)} files of {split} are new, changed or gone, the first of them {changed[0]}"
        if list(indices[split]) != verified.facts:
            return f"the index of {split} is in another order"
    return ""


def first_damage(data_set: Path, contents: Mapping[str, Contents], *, sample: int = 0, threads: int = 8) -> str:
    """Reads records back, and names the first that is not the file it was made from; "" if all are right.

    With `sample`, only about that many records are read, spread over each split.
    """
    for split, verified in contents.items():
        places = range(0, len(verified.files), max(len(verified.files) // sample, 1) if sample else 1)
        damage = _damage(data_set, split, verified.facts, places, len(verified.files), threads=threads)
        if damage:
            return damage
    return ""


def first_damage_on_beam(data_set: Path, contents: Mapping[str, Contents], beam: Beam, folder: Path) -> str:
    """`first_damage` of all records, on Beam's workers. `folder` is for the work that is handed out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tasks = []
    for split, verified in contents.items():
        rows = [asdict(facts) for facts in verified.facts]
        ranges = write_manifest(folder / split, in_pieces(rows, RECORDS_PER_TASK))
        tasks += [(str(data_set), split, len(rows), part) for part in ranges]
    beam.run(damage_in_range, tasks, folder)
    return next(filter(None, list(take_answers(folder))), "")


def damage_in_range(task: tuple[str, str, int, Range]) -> str:
    """What a worker of Beam does: it reads the records of a range back."""
    data_set, split, count, part = task
    rows = [Facts(**row) for row in part.rows()]
    return _damage(Path(data_set), split, rows, range(part.first, part.first + len(rows)), count, first=part.first)


def _damage(
    data_set: Path, split: str, facts: Sequence[Facts], places: range, count: int, *, first: int = 0, threads: int = 0
) -> str:
    """The first damage among the records at `places` of a split of `count`; the facts are those of record `first` and on."""
    try:
        records = TfdsRecords(data_set, split)
        if len(records) != count:
            return f"{split} has {len(records)} records for {count} images"

        def is_right(number: int) -> bool:
            record, expected = records[places[number]], facts[places[number] - first]
            return hashlib.sha256(record["image"]).hexdigest() == expected.sha256 and Facts.decode(record) == expected

        right = read_ahead(is_right, len(places), threads=threads, ahead=AHEAD if threads else 0)
        what = f"read back {data_set.parent.name}/{split}"
        for place, fine in zip(places, progress(right, total=len(places), what=what), strict=True):
            if not fine:
                return f"record {place} of {split} is not {facts[place - first].path}"
    except OSError as error:  # no sign of damage: what is there is left alone
        raise UserError(f"{split} of {data_set} cannot be read: {error.strerror or first_line(error)}") from None
    except DataError as error:
        if not isinstance(error, DamagedDataError):
            raise
        return f"{split} cannot be read: {first_line(error)}"
    except Exception as error:  # damaged records raise almost anything
        return f"{split} cannot be read: {first_line(error)}"
    return ""
