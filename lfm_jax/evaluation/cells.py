"""Cells of an evaluation kept on disk: the scores of one set of weights under one protocol and view.

In: a folder and the hash of the data. Out: what was scored there before, so that an interrupted evaluation goes on with
the first cell that is missing. A cell is found again by content: other weights, data or versions are another cell.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lfm_jax.data.sources.base import Source
from lfm_jax.inference.scoring import Scored
from lfm_jax.runtime.distributed import gather, is_main
from lfm_jax.runtime.progress import progress


class Cells:
    """Cells in `folder`, of data whose content has this hash. Process 0 reads and writes; all get the same answer."""

    def __init__(self, folder: Path, data_sha256: str):
        self.folder, self.data_sha256 = folder, data_sha256

    def load(self, cell: Mapping[str, str]) -> list[Scored] | None:
        """What was scored, or None."""
        path = self._path(cell)
        found = json.loads(path.read_text()) if is_main() and path.exists() else None
        found = gather(found)[0]
        return None if found is None else [Scored(**item) for item in found["scored"]]

    def save(self, cell: Mapping[str, str], scored: Sequence[Scored]) -> None:
        """Whole or not at all."""
        if not is_main():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(cell)
        started = path.with_suffix(".part")
        started.write_text(json.dumps({"cell": self._key(cell), "scored": [asdict(item) for item in scored]}))
        started.replace(path)

    def _key(self, cell: Mapping[str, str]) -> dict[str, Any]:
        return {**cell, "data": self.data_sha256, "versions": {name: version(name) for name in ("lfm_jax", "pillow")}}

    def _path(self, cell: Mapping[str, str]) -> Path:
        digest = hashlib.sha256(json.dumps(self._key(cell), sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:24]}.json"


def data_hash(source: Source, *, threads: int) -> str:
    """sha256 over path, label and content of every example, with progress; the same on every process."""
    digest = hashlib.sha256()
    if is_main():
        with ThreadPoolExecutor(threads) as pool:
            contents = pool.map(source.content_hash, range(len(source.examples)))
            shown = progress(contents, total=len(source.examples), what="hash the data")
            for example, content in zip(source.examples, shown, strict=True):
                digest.update(f"{example.path}\0{example.label}\0{content}\n".encode("utf-8", "surrogateescape"))
    return gather(digest.hexdigest())[0]
