"""Labelled images named in a CSV file: columns path and label, and perhaps group."""

import csv
import io
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from lfm_jax.data.sources.base import LABEL_FOLDERS, Example, Labels
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.data.sources.index import Examples
from lfm_jax.errors import DataError
from lfm_jax.runtime.paths import expanded

MAX_BYTES = 1 << 28  # a line for each of several million images
COLUMNS = ("path", "label", "group")
LABELS: Labels = {"real": 0, "fake": 1, "0": 0, "1": 1, **LABEL_FOLDERS}


def open_list(file: str | os.PathLike[str], *, classes: Collection[str] = (), labels: Labels = LABEL_FOLDERS) -> FileSource:
    """The images of a CSV file (comma, semicolon or tab) whose first row names its columns: path,label[,group].

    A path is relative to the folder of the file. A label is real or fake, 0 or 1, or a name in `labels`. The group is the
    generator that reports have a row for; without one it is the name of the file.

    Args:
      classes: read only these groups; empty for everything.

    Raises:
      DataError: the file cannot be read, or a row does not say what it should; names the row and the column.
    """
    file = expanded(file)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file}: {file.stat().st_size} bytes, over the limit of {MAX_BYTES} for a list")
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{file}: the list cannot be read: {error.strerror}") from None
    try:
        examples: Sequence[Example] = Examples(_examples(file, text, {**LABELS, **labels}))
    except csv.Error as error:
        raise DataError(f"{file}: not a CSV file: {error}") from None
    groups = {example.generator for example in examples}
    if unknown := set(classes) - groups:
        raise DataError(f"{file}: no group {', '.join(sorted(unknown))}: there are {', '.join(sorted(groups))}")
    if classes:
        examples = Examples(example for example in examples if example.generator in classes)
    if not examples:
        raise DataError(f"{file}: no row below the names of the columns")
    return FileSource(file.parent, examples, name=str(file))


def _examples(file: Path, text: str, labels: Labels) -> Iterator[Example]:
    head = text.split("\n", 1)[0]
    delimiter = next((mark for mark in ",;\t" if mark in head), ",")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = [name.strip().lower() for name in next(rows, [])]
    if not {"path", "label"} <= set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
        raise DataError(f"{file} row 1: the columns are {', '.join(columns) or 'none'}; expected path,label or path,label,group")
    seen: dict[str, int] = {}
    for number, values in enumerate(rows, start=2):
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(columns):
            raise DataError(f"{file} row {number}: {len(values)} columns, expected {len(columns)}: {','.join(columns)}")
        row = dict(zip(columns, values, strict=True))
        label = labels.get(row["label"].strip())
        if label is None:
            names = ", ".join(labels)
            raise DataError(f"{file} row {number}, column label: {row['label']!r}; expected one of {names}, or give --labels")
        path, group = row["path"], row.get("group", "").strip()
        if not path.strip() or "\0" in path:
            raise DataError(f"{file} row {number}, column path: {path!r}; expected the path of an image")
        if seen.setdefault(path, number) != number:
            raise DataError(f"{file} row {number}, column path: {path!r} is in row {seen[path]} already; remove one of them")
        yield Example(path, label, file.stem, group or file.stem)
