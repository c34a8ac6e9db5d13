"""One prepared data set: written by TFDS, read back record by record, and moved to its place by one rename."""

import contextlib
import hashlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path

from lfm_jax.data.prepare.verify import Contents
from lfm_jax.data.sources.records import DamagedDataError, Facts, TfdsRecords, read_index, splits_of, write_index
from lfm_jax.errors import UserError, first_line
from lfm_jax.runtime.progress import progress

ROOM = 1.05  # disk space needed, as a multiple of the images' bytes: ArrayRecord and the index add a little


def write_data_set(name: str, contents: Mapping[str, Contents], folder: Path) -> Path:
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
    builder.contents = contents
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            builder.download_and_prepare(download_dir=str(folder / "downloads"))
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


def first_damage(data_set: Path, contents: Mapping[str, Contents], *, sample: int = 0) -> str:
    """Reads records back, and names the first that is not the file it was made from; "" if all are right.

    With `sample`, only about that many records are read, spread over each split.
    """
    for split, verified in contents.items():
        try:
            records = TfdsRecords(data_set, split)
            if len(records) != len(verified.facts):
                return f"{split} has {len(records)} records for {len(verified.facts)} images"
            places = range(0, len(records), max(len(records) // sample, 1) if sample else 1)
            for place in progress(places, total=len(places), what=f"read back {data_set.parent.name}/{split}"):
                record, facts = records[place], verified.facts[place]
                if hashlib.sha256(record["image"]).hexdigest() != facts.sha256 or Facts.decode(record) != facts:
                    return f"record {place} of {split} is not {facts.path}"
        except OSError as error:  # no sign of damage: what is there is left alone
            raise UserError(f"{split} of {data_set} cannot be read: {error.strerror or first_line(error)}") from None
        except Exception as error:  # damaged records raise almost anything
            return f"{split} cannot be read: {first_line(error)}"
    return ""
