"""The store of scored cells, from which an interrupted evaluation resumes.

A cell is one set of weights under one protocol and view. It is found again by its content: other weights, other data or
other versions make another cell.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lfm_jax.data import views
from lfm_jax.data.images import takes_truncated
from lfm_jax.data.sources.base import Source
from lfm_jax.errors import first_line
from lfm_jax.inference.scoring import Scored
from lfm_jax.runtime.distributed import gather, is_main
from lfm_jax.runtime.paths import write_whole
from lfm_jax.runtime.progress import progress, say

SCORED = {field.name for field in fields(Scored)}
OPTIONAL = {"truncated"}  # left out where there is nothing to say
ALWAYS = SCORED - OPTIONAL - {"flat", "facts"}  # earlier versions wrote no more


class CellStore:
    """Scores of whole cells, as files in `folder`. Process 0 reads and writes them; all processes get the same answer."""

    def __init__(self, folder: Path, data_sha256: str):
        self.folder, self.data_sha256 = folder, data_sha256

    def load(self, cell: Mapping[str, str], *, images: int) -> list[Scored] | None:
        """The scores of a cell {"weights", "protocol", "view"} over so many images, or None if it is to be scored.

        A damaged or incomplete file is named and counts as not there; `save` then replaces it.
        """
        paths = [path for path in map(self._path, _names_over_time(cell)) if path.exists()] if is_main() else []
        items = None
        if paths:
            try:
                items = _checked(json.loads(paths[0].read_bytes()), images)
            except (ValueError, RecursionError) as error:
                say(f"{paths[0]} is damaged ({first_line(error)}): scored again")
        items = gather(items)[0]
        return None if items is None else [Scored.of(item) for item in items]

    def save(self, cell: Mapping[str, str], scored: Sequence[Scored]) -> None:
        """Writes the whole cell or, if interrupted, nothing."""
        if not is_main():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        items = [{name: value for name, value in asdict(item).items() if name not in OPTIONAL or value} for item in scored]
        content = json.dumps({"cell": self._key(cell), "scored": items, "sha256": _hash_of(items)})
        write_whole(self._path(cell), content.encode())

    def _key(self, cell: Mapping[str, str]) -> dict[str, Any]:
        cut = {"truncated": "score"} if takes_truncated() else {}
        return {**cell, **cut, "data": self.data_sha256, "versions": {name: version(name) for name in ("lfm_jax", "pillow")}}

    def _path(self, cell: Mapping[str, str]) -> Path:
        digest = hashlib.sha256(json.dumps(self._key(cell), sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:24]}.json"


def _checked(content: Any, images: int) -> list[dict[str, Any]]:
    """The items of a cell's file. Raises ValueError unless they are whole: every image once, with a logit or a reason."""
    items = content.get("scored") if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(map(_has_fields, items)):
        raise ValueError("it does not hold scores")
    if [item["index"] for item in items] != list(range(images)):
        raise ValueError(f"it holds the scores of {len(items)} images, not of all {images} in their order")
    if not all(_is_whole(item) for item in items):
        raise ValueError("an image has neither a finite logit nor a reason")
    if not content.keys() <= {"cell", "scored", "sha256"}:
        raise ValueError("it has fields that no cell has")
    if content.get("sha256", _hash_of(items)) != _hash_of(items):  # earlier versions wrote none
        raise ValueError("its scores do not match their hash")
    return items


def _has_fields(item: Any) -> bool:
    return isinstance(item, dict) and ALWAYS <= item.keys() <= SCORED


def _is_whole(item: Mapping[str, Any]) -> bool:
    logit, error = item["logit"], item["error"]
    return isinstance(error, str) if logit is None else isinstance(logit, float) and math.isfinite(logit) and error is None


def _hash_of(items: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()


def _names_over_time(cell: Mapping[str, str]) -> list[dict[str, str]]:
    """The cell as it is called today, then as earlier versions called it."""
    return [dict(cell), *({**cell, "view": old} for old, new in views.ALIASES.items() if new == cell["view"])]


def data_hash(source: Source, *, threads: int) -> str:
    """sha256 over path, label and content of every example, with progress; the same on every process."""
    digest = hashlib.sha256()
    if is_main():
        with ThreadPoolExecutor(threads) as pool:
            contents = pool.map(source.content_hash, range(len(source.examples)))
            watched = progress(contents, total=len(source.examples), what="hash the data")
            for example, content in zip(source.examples, watched, strict=True):
                digest.update(f"{example.path}\0{example.label}\0{content}\n".encode("utf-8", "surrogateescape"))
    return gather(digest.hexdigest())[0]
