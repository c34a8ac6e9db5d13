"""Scores for files and folders without labels, in the order given, as a table, JSON lines or CSV; and for images in Python.

In: a Detector and paths. Out: one record a file, {"path", "logit", "score", "label", "threshold",
"protocol", "width", "height"} or {"path", "error"}, written as it is known.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from tabulate import tabulate

from lfm_jax.data.sources import open_files
from lfm_jax.detector import Detector, Failure, Prediction
from lfm_jax.errors import DataError
from lfm_jax.progress import progress
from lfm_jax.scoring import Scored, score, score_stream

FORMATS = ("table", "jsonl", "csv")
COLUMNS = ("path", "logit", "score", "label", "threshold", "protocol", "width", "height", "error")


def predict(
    detector: Detector, paths: Sequence[str], *, protocol: str, batch_size: int = 32, threads: int = 8
) -> Iterator[dict[str, Any]]:
    """Files, and folders searched through -> one record for each, in order."""
    source = open_files(paths)
    if not source.examples:
        raise DataError(f"no image files in {', '.join(map(str, paths))}")
    scored = score(detector, source, protocol, batch_size=batch_size, threads=threads)
    for item in progress(scored, total=len(source.examples), what="scored"):
        yield {"path": source.examples[item.index].path, **asdict(_outcome(detector, item, protocol))}


def predict_stream(
    detector: Detector, images: Iterable[Any], *, protocol: str, batch_size: int = 32, threads: int = 8
) -> Iterator[Prediction | Failure]:
    """Paths, PIL images or arrays -> what became of each, in order; see `Detector.batches`."""
    scored = score_stream(detector, images, protocol, batch_size=batch_size, threads=threads)
    return (_outcome(detector, item, protocol) for item in scored)


def _outcome(detector: Detector, item: Scored, protocol: str) -> Prediction | Failure:
    if item.logit is None:
        return Failure(item.error or "")
    return detector.prediction(item.logit, protocol, item.width, item.height)


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
