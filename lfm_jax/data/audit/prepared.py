"""`lfm data check` of prepared data: every record is read back, compared with its index and decoded."""

import functools
import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

from lfm_jax.data.audit.expected import Finding, make_finding
from lfm_jax.data.images import ImageError, decode_bytes
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.prepare.beam import Beam, answers
from lfm_jax.data.prepare.manifest import in_pieces
from lfm_jax.data.sources.records import RecordSource, find_prepared, open_prepared_split, splits_of
from lfm_jax.errors import DataError
from lfm_jax.runtime.progress import progress

AHEAD = 256  # records, of which only the fault is kept
RECORDS_PER_TASK = 1000  # of Beam


def check_prepared(
    root: str | os.PathLike[str], *, threads: int = 8, beam: Beam | None = None, shared: Path | None = None
) -> dict[str, Any]:
    """Reads every record of the prepared data sets in a folder, and returns a report as `check_folder` does.

    It finds what preparing and training look at for a sample, or for one image at a time. `beam` and `shared` are as of
    `check_folder`.

    Raises:
      DataError: a data set cannot be opened at all.
      UserError: Beam failed.
    """
    groups: list[dict[str, Any]] = []
    problems: list[Finding] = []
    for name, folder in find_prepared(root).items():
        for split in splits_of(folder):
            source = open_prepared_split(folder, "", split)
            groups += _group_rows(source, name, split)
            if beam and shared:
                problems += _broken_records_on_beam(source, folder, split, beam, shared / f"{name}_{split}")
            else:
                problems += _broken_records(source, threads)
    images = sum(row["real"] + row["fake"] for row in groups)
    report = {"root": str(root), "images": images, "clean": not problems, "groups": groups, "problems": problems}
    return report | {"notes": [], "duplicates": [], "format": []}


def _group_rows(source: RecordSource, name: str, split: str) -> list[dict[str, Any]]:
    """The number of real and fake images of each suite and generator."""
    labels = Counter((example.suite, example.generator, example.label) for example in source.examples)
    rows = []
    for suite, generator in sorted({place[:2] for place in labels}):
        counts = {"real": labels[suite, generator, 0], "fake": labels[suite, generator, 1], "expected": None}
        rows.append({"split": split, "suite": suite or name, "generator": generator, "class": "", **counts})
    return rows


def _broken_records(source: RecordSource, threads: int) -> list[Finding]:
    count = len(source.examples)
    faults = read_ahead(functools.partial(_fault, source), count, threads=threads, ahead=AHEAD)
    watched = progress(faults, total=count, what=f"read back {source.name}")
    return [
        make_finding("broken record", f"{source.name}/{example.path}", fault)
        for example, fault in zip(source.examples, watched, strict=True)
        if fault
    ]


def _broken_records_on_beam(source: RecordSource, folder: Path, split: str, beam: Beam, work: Path) -> list[Finding]:
    pieces = in_pieces(range(len(source.examples)), RECORDS_PER_TASK)
    beam.run(faults_in_piece, [(str(folder), split, piece[0], len(piece)) for piece in pieces], work)
    faults = [fault for answer in answers(work) for fault in answer]
    return [make_finding("broken record", f"{source.name}/{source.examples[place].path}", fault) for place, fault in faults]


def faults_in_piece(task: tuple[str, str, int, int]) -> list[tuple[int, str]]:
    """What a worker of Beam does: it reads so many records from a place on, and answers with the faults by their places."""
    folder, split, first, count = task
    source = _opened(folder, split)
    return [(place, fault) for place in range(first, first + count) if (fault := _fault(source, place))]


@functools.lru_cache(maxsize=1)
def _opened(folder: str, split: str) -> RecordSource:
    """Opened once by each worker."""
    return open_prepared_split(folder, "", split)


def _fault(source: RecordSource, place: int) -> str:
    """What is wrong with a record, "" if nothing is."""
    try:
        content = source.encoded(place)
        decode_bytes(content)
    except (ImageError, DataError) as error:
        return str(error)
    same = hashlib.sha256(content).hexdigest() == source.content_hash(place)
    return "" if same else "its bytes are not those that were prepared: prepare the data again"
