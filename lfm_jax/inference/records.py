"""Predictions as records: written as a table, JSON lines, CSV or Parquet, and shown in a notebook.

A record is {"path"} and the fields of a `Prediction`, or {"path", "error"} for an image that could not be scored.
"""

import csv
import importlib.util
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from lfm_jax.data.images import takes_truncated
from lfm_jax.data.listing import Passed
from lfm_jax.data.provenance import Provenance
from lfm_jax.errors import UserError
from lfm_jax.inference.answers import answers_table, terminal_width, write_answers
from lfm_jax.inference.notebook import records_html
from lfm_jax.inference.verdict import ANSWERS
from lfm_jax.runtime.terminal import printable

Record = dict[str, Any]
FORMATS = ("table", "jsonl", "csv", "parquet")
# Fields that were added come last, for readers that count columns.
COLUMNS = ("path", "logit", "score", "label", "threshold", "protocol", "width", "height", "error") + (
    "verdict",
    "reasons",
    "why",
    "format",
    "share",
    "provenance",
)
PROVENANCE_HEAD = "What the files say of their origin (it can be forged or removed, and changes no score):"
ROWS_IN_NOTEBOOK = 50
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet takes for a formula
UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\ud800-\udfff]")  # terminals obey some of them, and UTF-8 has none of the others


def write_records(records: Iterable[Record], format: str, out: TextIO, *, passed: Passed | None = None) -> tuple[int, list[Record]]:
    """Writes records to `out` in one of FORMATS.

    JSON lines and CSV are written as each record arrives, with errors in their place; Parquet at the end. A table, too, comes
    at the end; it holds only what was scored, and says how many images got each answer.

    Args:
      passed: what was not read, for the summary below a table.

    Returns:
      How many images were scored, and the records of those that were not.
    """
    scored, failed, kept = 0, [], []
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
            values = {**record, "path": safe_in_spreadsheet(path), "reasons": " ".join(record.get("reasons", ()))}
            values["provenance"] = provenance_line(record)
            out.write(separated([values.get(name, "") for name in columns]))
            out.flush()
        elif format == "jsonl":
            print(json_line(record, unicode=is_unicode(out)), file=out, flush=True)
        else:
            kept.append(record)
    if format == "parquet":
        write_parquet(kept, out)
    elif format == "table":
        good = [record for record in kept if "error" not in record]
        write_answers(good, failed, Passed() if passed is None else passed, out, width=terminal_width(out))
        if notes := provenance_notes(good):
            print(f"\n{PROVENANCE_HEAD}", *notes, sep="\n", file=out)
    return scored, failed


def provenance_notes(records: Iterable[Record]) -> list[str]:
    """A line for each file that says something notable of its origin; the frames of a video share one."""
    notes: dict[str, str] = {}
    for record in records:
        if record.get("provenance") and Provenance.from_dict(record["provenance"]).is_notable:
            file = record["path"].rpartition("#t=")[0] or record["path"]
            notes[file] = f"  {printable(file)}: {provenance_line(record)}"
    return list(notes.values())


def provenance_line(record: Record) -> str:
    """What the file of a record says about its origin, on one line; "" where that is not known."""
    return Provenance.from_dict(record["provenance"]).line() if record.get("provenance") else ""


def write_parquet(records: Sequence[Record], out: TextIO) -> None:
    """Writes records as a Parquet table of COLUMNS to a file that is open as text. Raises UserError without pyarrow."""
    require_parquet()
    import pyarrow
    from pyarrow import parquet

    kinds = {"width": pyarrow.int32(), "height": pyarrow.int32(), "reasons": pyarrow.list_(pyarrow.string())}
    numbers = dict.fromkeys(("logit", "score", "threshold", "share"), pyarrow.float64())
    schema = pyarrow.schema([(name, (kinds | numbers).get(name, pyarrow.string())) for name in COLUMNS])
    rows = [
        {**record, "path": printable_unicode(record["path"]), "provenance": provenance_line(record) or None} for record in records
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), out.buffer)


def require_parquet() -> None:
    """Raises UserError where Parquet cannot be written."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError("--format=parquet takes pyarrow: pip install 'lfm_jax[parquet]'")


def printable_unicode(path: str) -> str:
    """The path with bytes that are not UTF-8 escaped (\\udce9), as Parquet holds UTF-8 only."""
    return path.encode("utf-8", "backslashreplace").decode()


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
        table = answers_table(self[:ROWS_IN_NOTEBOOK]) + "\n" if self else ""
        return f"{table}{self._summary()}"

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
            counts = Counter(record["verdict"] for record in self)
            summary += f": {', '.join(f'{counts[answer]} {answer}' for answer in ANSWERS if counts[answer])}"
            summary += f" at threshold {self[0]['threshold']:.3g} under {self[0]['protocol']}"
        if self.errors:
            summary += f", {len(self.errors)} could not be scored (see .errors)"
        some = max(len(self), len(self.errors)) > ROWS_IN_NOTEBOOK
        return summary + (f". The first {ROWS_IN_NOTEBOOK} of each:" if some else ".")
