"""The store of scored cells, from which an interrupted evaluation resumes.

A cell is one set of weights under one protocol and view. It is found again by its content: other weights, other data or
other versions make another cell. That of more than PART_IMAGES images is stored in parts, and resumes with the first
missing one.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lfm_jax.data import views
from lfm_jax.data.images import takes_truncated
from lfm_jax.data.prefetch import read_ahead
from lfm_jax.data.sources.base import Source
from lfm_jax.errors import first_line
from lfm_jax.inference.scoring import Scored
from lfm_jax.runtime.exchange import agreed, dealt
from lfm_jax.runtime.paths import write_whole
from lfm_jax.runtime.progress import progress, say

SCORED = {field.name for field in fields(Scored)}
OPTIONAL = {"truncated"}  # left out where there is nothing to say
PART_IMAGES = 5_000  # two minutes on two cores
HASHED_AT_ONCE = 10_000
Cell = Mapping[str, str]  # "weights", "protocol" and "view"
ALWAYS = SCORED - OPTIONAL - {"flat", "facts"}  # earlier versions wrote no more


class CellStore:
    """Scores of cells, as files in `folder`. Only process 0 has one that it reads and writes."""

    def __init__(self, folder: Path, data_sha256: str, *, compute_dtype: str = "float32"):
        self.folder, self.data_sha256 = folder, data_sha256
        self._how = {} if compute_dtype == "float32" else {"compute_dtype": compute_dtype}

    def load(self, cell: Cell, *, images: int, part: range | None = None) -> list[Scored] | None:
        """The scores of a cell over so many images, or of those in `part`; None if they are to be scored.

        A damaged or incomplete file is named and counts as not there; `save` then replaces it.
        """
        paths = [path for path in (self._path(names, part) for names in _names_over_time(cell)) if path.exists()]
        if not paths:
            return None
        try:
            return list(map(Scored.of, _checked(json.loads(paths[0].read_bytes()), range(images) if part is None else part)))
        except (ValueError, RecursionError) as error:
            say(f"{paths[0]} is damaged ({first_line(error)}): scored again")
            return None

    def save(self, cell: Cell, scored: Sequence[Scored], *, part: range | None = None) -> None:
        """Writes all scores of the cell, or of the images in `part`, or, if interrupted, nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        items = [{name: value for name, value in asdict(item).items() if name not in OPTIONAL or value} for item in scored]
        content = json.dumps({"cell": self._key(cell), "scored": items, "sha256": _hash_of(items)})
        write_whole(self._path(cell, part), content.encode())

    def _key(self, cell: Cell) -> dict[str, Any]:
        how = {**self._how, "truncated": "score"} if takes_truncated() else self._how
        return {**cell, **how, "data": self.data_sha256, "versions": {name: version(name) for name in ("lfm_jax", "pillow")}}

    def _path(self, cell: Cell, part: range | None) -> Path:
        digest = hashlib.sha256(json.dumps(self._key(cell), sort_keys=True).encode()).hexdigest()
        images = "" if part is None else f"-{part.start}-{part.stop}"
        return self.folder / f"{digest[:24]}{images}.json"


def parts_of(images: int) -> list[range]:
    """The parts in which a cell over so many images is scored and stored, in order."""
    return [range(start, min(start + PART_IMAGES, images)) for start in range(0, images, PART_IMAGES)] or [range(0)]


def _checked(content: Any, images: range) -> list[dict[str, Any]]:
    """What a file holds of these images. Raises ValueError unless it is whole: every image once, with a logit or a reason."""
    items = content.get("scored") if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(map(_has_fields, items)):
        raise ValueError("it does not hold scores")
    if [item["index"] for item in items] != list(images):
        raise ValueError(f"it holds the scores of {len(items)} images, not of all {len(images)} in their order")
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


def _names_over_time(cell: Cell) -> list[dict[str, str]]:
    """The cell as it is called today, then as earlier versions called it."""
    return [dict(cell), *({**cell, "view": old} for old, new in views.ALIASES.items() if new == cell["view"])]


def data_hash(source: Source, *, threads: int) -> str:
    """sha256 over path, label and content of every example, with progress; each process reads its share, all get the same."""

    def contents(indices: Sequence[int]) -> Iterator[str]:
        hashes = read_ahead(lambda place: source.content_hash(indices[place]), len(indices), threads=threads, ahead=8 * threads)
        return progress(hashes, total=len(indices), what="hash the data")

    digest, count = hashlib.sha256(), len(source.examples)
    pieces = [range(start, min(start + HASHED_AT_ONCE, count)) for start in range(0, count, HASHED_AT_ONCE)]
    for piece, hashes in zip(pieces, dealt(pieces, contents), strict=True):
        for index, content in zip(piece, hashes or (), strict=hashes is not None):
            example = source.examples[index]
            digest.update(f"{example.path}\0{example.label}\0{content}\n".encode("utf-8", "surrogateescape"))
    return agreed(digest.hexdigest())
