"""Preparation: folders of images -> ArrayRecord data sets, verified, resumable, never half there.

In: a folder as users have it. Out, in OUT: NAME/VERSION/ for each data set (records, index, TFDS's description),
left_out.tsv, and .prepare/ with the journal of what was verified. A data set is built and read back under
.prepare/ and comes to its place by one rename.
"""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lfm_jax.data.prepare.layout import Part, find_parts
from lfm_jax.data.prepare.verify import Contents, Journal, verify
from lfm_jax.data.sources.records import Facts, TfdsRecords, read_index, splits, write_index
from lfm_jax.errors import DataError, UserError, first_line
from lfm_jax.runtime.progress import progress, say

SAMPLE = 16  # records of each split that are read when everything is there already
ROOM = 1.05  # of the images' bytes, for what ArrayRecord and the index add


@dataclass(frozen=True)
class Prepared:
    """One data set in its place; `written` says whether it was built now or found there."""

    folder: Path
    contents: Mapping[str, Contents]
    written: bool

    @property
    def name(self) -> str:
        return self.folder.parent.name


def prepare(root: Path, out: Path, *, suite: str = "", threads: int = 8) -> list[Prepared]:
    """The data sets of folder `root`, or the one named `suite`, -> ArrayRecord data sets in `out`.

    Files that do not decode are left out, and listed in OUT/left_out.tsv. Run again after any interruption, it
    goes on where it was; run again when all is done, it looks for changed files and reads a sample.

    Raises:
      UserError: nothing to prepare, `out` cannot be written or is full, an unknown suite, or a file changed on the way.
    """
    root, out = root.expanduser().absolute(), out.expanduser()
    data_sets: dict[str, list[Part]] = {}
    for part in find_parts(root, suite=suite):
        data_sets.setdefault(part.dataset, []).append(part)
    with _workshop(out) as shop, Journal(shop / "journal.jsonl") as journal:
        done = [_prepare(parts, out, shop, journal, threads) for parts in data_sets.values()]
        _write_left_out(done, out / "left_out.tsv")
    return done


def _prepare(parts: Sequence[Part], out: Path, shop: Path, journal: Journal, threads: int) -> Prepared:
    from lfm_jax.data.prepare.tfds_builders import VERSION, ChangedError

    name = parts[0].dataset
    contents = {part.split: verify(part, journal, threads=threads) for part in parts}
    final = out / name / VERSION
    if final.is_dir():
        wrong = _differs(final, contents) or _first_wrong(final, contents, sample=SAMPLE)
        if not wrong:
            return Prepared(final, contents, written=False)
        say(f"{name} is prepared again: {wrong}")
    try:
        built = _build(name, contents, shop / "building")
    except ChangedError as error:
        journal.forget(error.file)
        raise
    wrong = _first_wrong(built, contents)
    if wrong:
        raise DataError(f"what was written to {built} is not what was read: {wrong}")
    _publish(built, final, shop)
    return Prepared(final, contents, written=True)


def _build(name: str, contents: Mapping[str, Contents], folder: Path) -> Path:
    """Write a data set below `folder`, emptied before -> the data set's own folder."""
    import tensorflow_datasets as tfds

    from lfm_jax.data.prepare.tfds_builders import BUILDERS

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    needed, free = sum(facts.size for found in contents.values() for facts in found.facts) * ROOM, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{name} needs {needed / 1e9:.2f} GB in {folder.parent.parent}, where {free / 1e9:.2f} GB are free")
    tfds.disable_progress_bar()  # ours is shown instead
    builder = BUILDERS[name](data_dir=str(folder), file_format="array_record")
    builder.contents = contents
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            builder.download_and_prepare(download_dir=str(folder / "downloads"))
        except RuntimeError as error:  # ArrayRecord's, for a disk that is full or failing
            raise UserError(f"cannot write {name}: {first_line(error)}: make room and run the same command again") from None
    built = Path(builder.data_dir)
    for split, found in contents.items():
        write_index(built, split, found.facts)
    return built


def _publish(built: Path, final: Path, shop: Path) -> None:
    final.parent.mkdir(exist_ok=True)
    old = shop / "old"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    built.rename(final)
    for rest in (old, shop / "building"):
        shutil.rmtree(rest, ignore_errors=True)


def _differs(folder: Path, contents: Mapping[str, Contents]) -> str:
    """What the folders hold now that the prepared data set does not, or the other way round; "" for nothing."""
    if set(splits(folder)) != set(contents):
        return f"its splits were {', '.join(splits(folder))}, there are now {', '.join(contents)}"
    for split, found in contents.items():
        before, now = set(read_index(folder, split) or ()), set(found.facts)
        if before != now:
            changed = sorted({facts.path for facts in before ^ now})
            return f"{len(changed)} files of {split} are new, changed or gone, {changed[0]} the first"
    return ""


def _first_wrong(folder: Path, contents: Mapping[str, Contents], *, sample: int = 0) -> str:
    """The first record that is not the file it was made of, of all or of a `sample` spread over each split; "" for none."""
    for split, found in contents.items():
        try:
            records = TfdsRecords(folder, split)
            if len(records) != len(found.facts):
                return f"{len(records)} records of {len(found.facts)} images in {split}"
            places = range(0, len(records), max(len(records) // sample, 1) if sample else 1)
            for place in progress(places, total=len(places), what=f"read back {folder.parent.name}/{split}"):
                record, facts = records[place], found.facts[place]
                if hashlib.sha256(record["image"]).hexdigest() != facts.sha256 or Facts.decode(record) != facts:
                    return f"record {place} of {split} is not {facts.path}"
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            return f"{split} cannot be read: {first_line(error)}"
    return ""


@contextlib.contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """OUT/.prepare, held by this process alone. What goes wrong with the disk comes out as a UserError."""
    shop = out / ".prepare"
    try:
        shop.mkdir(parents=True, exist_ok=True)
        with open(shop / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another lfm data prepare is at work in {out}: wait for it to end") from None
            yield shop
    except OSError as error:
        advice = ": make room and run the same command again" if error.errno == errno.ENOSPC else ""
        raise UserError(f"cannot write to {out}: {error.strerror or first_line(error)}{advice}") from None


def _write_left_out(done: Sequence[Prepared], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("dataset", "split", "path", "reason"))
        for prepared in done:
            for split, found in prepared.contents.items():
                writer.writerows((prepared.name, split, *line) for line in found.left_out)
