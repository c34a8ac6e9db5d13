"""Predictions as records: written as a table, JSON lines or CSV, and shown in a notebook.

A record is {"path", "logit", "score", "label", "threshold", "protocol", "width", "height"}, or {"path", "error"} for an
image that could not be scored.
"""

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from tabulate import tabulate

from lfm_jax.data.images import takes_truncated
from lfm_jax.inference.notebook import records_html
from lfm_jax.runtime.terminal import printable

Record = dict[str, Any]
FORMATS = ("table", "jsonl", "csv")
COLUMNS = ("path", "logit", "score", "label", "threshold", "protocol", "width", "height", "error")
ROWS_IN_NOTEBOOK = 50
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet takes for a formula
UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\ud800-\udfff]")  # terminals obey some of them, and UTF-8 has none of the others


def write_records(records: Iterable[Record], format: str, out: TextIO) -> tuple[int, list[Record]]:
    """Writes records to `out` in one of FORMATS.

    JSON lines and CSV are written as each record arrives, with errors in their place. A table comes at the end and holds
    only what was scored.

    Returns:
      How many images were scored, and the records of those that were not.
    """
    scored, failed, rows = 0, [], []
    if format == "csv":
        columns = (*COLUMNS, "truncated") if takes_truncated() else COLUMNS
        out.write(separated(columns))
    for record in records:
        if "error" in record:
            failed.append(record)
        else:
            scored += 1
        if format == "csv":
            path = printable(record["path"]) if out.isatty() else record["path"]
            values = {**record, "path": safe_in_spreadsheet(path)}
            out.write(separated([values.get(name, "") for name in columns]))
            out.flush()
        elif format == "jsonl":
            print(json_line(record, unicode=is_unicode(out)), file=out, flush=True)
        elif "error" not in record:
            size = f"{record['width']} x {record['height']}"
            rows.append([printable(record["path"]), record["label"], f"{record['score']:.4f}", f"{record['logit']:.3f}", size])
    if rows:
        heads = ["path", "label", "score", "logit", "size"]
        print(tabulate(rows, heads, tablefmt="simple", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 3), file=out)
    return scored, failed


def separated(values: Sequence[Any], delimiter: str = ",") -> str:
    """Values as a line of CSV or TSV, with a line feed behind it. Carriage returns are quoted, which csv overlooks."""
    quoting: Any = csv.QUOTE_ALL if any("\r" in str(value) for value in values) else csv.QUOTE_MINIMAL
    line = io.StringIO(newline="")
    csv.writer(line, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(values)
    return line.getvalue()


def safe_in_spreadsheet(path: str) -> str:
    """The path, or for one that a spreadsheet would take for a formula ("=1+1.png") the same one beginning with "./"."""
    return f"./{path}" if path.startswith(FORMULA) else path


def json_line(record: Record, *, unicode: bool = True) -> str:
    """A record as JSON on one line, readable where `unicode` can be written.

    Bytes of a file name that are not UTF-8 are escaped (\\udce9), as raw they would make the line invalid; Python's json
    and os.fsencode give the name back.
    """
    return valid_json(json.dumps(record, ensure_ascii=not unicode, allow_nan=False))


def valid_json(text: str) -> str:
    """JSON in which what UTF-8 does not have, and what terminals would obey, is escaped."""
    return UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def is_unicode(out: TextIO) -> bool:
    """Whether any character can be written to `out`."""
    return (getattr(out, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")


class Predictions(list[Record]):
    """The records of a folder's images that were scored; `errors` holds {"path", "error"} for those that were not."""

    def __init__(self, records: Iterable[Record], folder: Path):
        every = list(records)
        super().__init__(record for record in every if "error" not in record)
        self.errors = [record for record in every if "error" in record]
        self.folder = folder

    def __repr__(self) -> str:
        text = io.StringIO()
        write_records(self[:ROWS_IN_NOTEBOOK], "table", text)
        return f"{text.getvalue()}{self._summary()}"

    def _repr_html_(self) -> str:
        """For notebooks."""
        scored = {self._name(record): record for record in self[:ROWS_IN_NOTEBOOK]}
        failed = {self._name(record): record["error"] for record in self.errors[:ROWS_IN_NOTEBOOK]}
        return records_html(self._summary(), scored, failed)

    def _name(self, record: Record) -> str:
        return os.path.relpath(record["path"], self.folder)

    def _summary(self) -> str:
        summary = f"{self.folder}: {len(self) + len(self.errors)} images"
        if self:
            labels = Counter(record["label"] for record in self)
            summary += f", {labels['fake']} called fake and {labels['real']} real"
            summary += f" at threshold {self[0]['threshold']:.3g} under {self[0]['protocol']}"
        if self.errors:
            summary += f", {len(self.errors)} could not be scored (see .errors)"
        some = max(len(self), len(self.errors)) > ROWS_IN_NOTEBOOK
        return summary + (f". The first {ROWS_IN_NOTEBOOK} of each:" if some else ".")
