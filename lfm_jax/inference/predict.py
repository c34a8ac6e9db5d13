"""Scores for files and folders without labels, in the order given, as a table, JSON lines or CSV; and for images in Python.

In: a Network and paths. Out: one record a file, {"path", "logit", "score", "label", "threshold",
"protocol", "width", "height"} or {"path", "error"}, written as it is known.
"""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from tabulate import tabulate

from lfm_jax.data import protocols
from lfm_jax.data.sources.folder import open_files
from lfm_jax.errors import DataError
from lfm_jax.inference.html import CAVEAT, HEADS, escaped, note, record_row
from lfm_jax.inference.network import Network
from lfm_jax.inference.prediction import Failure, Prediction
from lfm_jax.inference.scoring import Scored, score, score_stream
from lfm_jax.runtime.progress import progress

FORMATS = ("table", "jsonl", "csv")
COLUMNS = ("path", "logit", "score", "label", "threshold", "protocol", "width", "height", "error")
SHOWN = 50  # rows of a folder in a notebook


def predict(
    network: Network, paths: Sequence[str], *, protocol: str, batch_size: int = 32, threads: int = 8
) -> Iterator[dict[str, Any]]:
    """Files, and folders searched through -> one record for each, in order."""
    source = open_files(paths)
    if not source.examples:
        raise DataError(f"no image files in {', '.join(map(str, paths))}")
    scored = score(network, source, protocol, batch_size=batch_size, threads=threads)
    for item in progress(scored, total=len(source.examples), what="scored"):
        yield {"path": source.examples[item.index].path, **asdict(_outcome(network, item, protocol))}


def predict_stream(
    network: Network, images: Iterable[Any], *, protocol: str, batch_size: int = 32, threads: int = 8
) -> Iterator[Prediction | Failure]:
    """Paths, PIL images or arrays -> what became of each, in order; see `Detector.batches`."""
    scored = score_stream(network, images, protocol, batch_size=batch_size, threads=threads)
    return (_outcome(network, item, protocol) for item in scored)


def _outcome(network: Network, item: Scored, protocol: str) -> Prediction | Failure:
    if item.logit is None:
        return Failure(item.error or "")
    return Prediction.of(item.logit, network.card, protocol=protocol, width=item.width, height=item.height)


def write(records: Iterable[dict[str, Any]], format: str, out: TextIO) -> tuple[int, list[dict[str, Any]]]:
    """Records -> `out` in one of FORMATS; returns how many were scored, and the records of those that were not.

    JSON lines and CSV appear as they are known, and hold the errors in their place; a table comes at the
    end and holds what was scored.
    """
    scored, failed, rows = 0, [], []
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n") if format == "csv" else None
    if table:
        table.writeheader()
    for record in records:
        if "error" in record:
            failed.append(record)
        else:
            scored += 1
        if table:
            table.writerow(record)
            out.flush()
        elif format == "jsonl":
            print(json.dumps(record, ensure_ascii=False), file=out, flush=True)
        elif "error" not in record:
            size = f"{record['width']} x {record['height']}"
            rows.append([record["path"], record["label"], f"{record['score']:.4f}", f"{record['logit']:.3f}", size])
    if rows:
        heads = ["path", "label", "score", "logit", "size"]
        print(tabulate(rows, heads, tablefmt="simple", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 3), file=out)
    return scored, failed


class Predictions(list[dict[str, Any]]):
    """A record for each image that was scored; `errors` are {"path", "error"} for those that could not be."""

    def __init__(self, records: Iterable[dict[str, Any]], folder: Path):
        every = list(records)
        super().__init__(record for record in every if "error" not in record)
        self.errors = [record for record in every if "error" in record]
        self.folder = folder

    def __repr__(self) -> str:
        text = io.StringIO()
        write(self[:SHOWN], "table", text)
        return f"{text.getvalue()}{self._summary()}"

    def _repr_html_(self) -> str:
        rows = "".join(record_row(record, self._name(record)) for record in self[:SHOWN])
        failed = "".join(f"<li>{escaped(self._name(record))}: {escaped(record['error'])}</li>" for record in self.errors[:SHOWN])
        heads = "".join(f'<th style="text-align:{side}">{name}</th>' for name, side in HEADS.items())
        return (
            f"<p>{escaped(self._summary())}</p><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            + (f"<p>Could not be scored:</p><ul>{failed}</ul>" if failed else "")
            + note(CAVEAT)
        )

    def _name(self, record: dict[str, Any]) -> str:
        return os.path.relpath(record["path"], self.folder)

    def _summary(self) -> str:
        called = Counter(record["label"] for record in self)
        said = f"{self.folder}: {len(self) + len(self.errors)} images"
        if self:
            how = f"at threshold {self[0]['threshold']:.3g} under {self[0]['protocol']}"
            said += f", {called['fake']} called fake and {called['real']} real {how}"
        if self.errors:
            said += f", {len(self.errors)} could not be scored (see .errors)"
        return said + (f". The first {SHOWN} of each:" if max(len(self), len(self.errors)) > SHOWN else ".")


def predict_folder(network: Network, folder: str | os.PathLike[str], *, protocol: str | None = None, **speed: int) -> Predictions:
    """See `Detector.predict_folder`."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}; single images are scored by detector(image), several by detector.batches(images)")
    protocol = protocols.parse(protocol or network.card.protocol).name
    return Predictions(predict(network, [str(folder)], protocol=protocol, **speed), folder)
