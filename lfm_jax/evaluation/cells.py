"""The store of scored cells, from which an interrupted evaluation resumes.

A cell is one set of weights under one protocol and view. It is found again by its content: other weights, other data or
other versions make another cell.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lfm_jax.data import views
from lfm_jax.data.sources.base import Source
from lfm_jax.inference.scoring import Scored
from lfm_jax.runtime.distributed import gather, is_main
from lfm_jax.runtime.progress import progress


class CellStore:
    """Scores of whole cells, as files in `folder`. Process 0 reads and writes them; all processes get the same answer."""

    def __init__(self, folder: Path, data_sha256: str):
        self.folder, self.data_sha256 = folder, data_sha256

    def load(self, cell: Mapping[str, str]) -> list[Scored] | None:
        """The scores of a cell {"weights", "protocol", "view"}, or None if it has not been scored."""
        paths = [path for path in map(self._path, _names_over_time(cell)) if path.exists()] if is_main() else []
        content = gather(json.loads(paths[0].read_text()) if paths else None)[0]
        return None if content is None else [Scored(**item) for item in content["scored"]]

    def save(self, cell: Mapping[str, str], scored: Sequence[Scored]) -> None:
        """Writes the whole cell or, if interrupted, nothing."""
        if not is_main():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(cell)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps({"cell": self._key(cell), "scored": [asdict(item) for item in scored]}))
        partial.replace(path)

    def _key(self, cell: Mapping[str, str]) -> dict[str, Any]:
        return {**cell, "data": self.data_sha256, "versions": {name: version(name) for name in ("lfm_jax", "pillow")}}

    def _path(self, cell: Mapping[str, str]) -> Path:
        digest = hashlib.sha256(json.dumps(self._key(cell), sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:24]}.json"


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
