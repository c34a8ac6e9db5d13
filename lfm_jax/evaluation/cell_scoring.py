"""Scoring of one cell: the parts that are stored already are read, the others are scored by all processes together.

Only process 0 has the scores. The others score their share and get nothing back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lfm_jax.data.views import ViewedSource
from lfm_jax.evaluation.cells import Cell, CellStore, parts_of
from lfm_jax.inference.network import Network
from lfm_jax.inference.scoring import Scored, score
from lfm_jax.runtime.distributed import is_main
from lfm_jax.runtime.exchange import agreed, dealt
from lfm_jax.runtime.progress import progress


def score_cell(
    network: Network, viewed: ViewedSource, cell: Cell, cells: CellStore | None, *, batch_size: int, threads: int
) -> list[Scored]:
    """Every example in order, each scored once; [] on all processes but the first. Each part is stored as soon as it is whole."""
    images = len(viewed.examples)
    parts = parts_of(images)
    known = _known(cells, cell, images) if cells and is_main() else {}
    missing = [parts[number] for number in agreed([number for number, part in enumerate(parts) if part not in known])]

    def scored(indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        items = score(network, viewed, cell["protocol"], batch_size=batch_size, threads=threads, indices=indices)
        what = f"{viewed.name} {cell['protocol']}"
        return (asdict(item) for item in progress(items, total=len(indices), what=what))

    for part, items in zip(missing, dealt(missing, scored), strict=True):
        if items is None:
            continue
        known[part] = list(map(Scored.of, items))
        if cells:
            cells.save(cell, known[part], part=None if len(parts) == 1 else part)
    return [item for part in sorted(known, key=lambda part: part.start) for item in known[part]]


def _known(cells: CellStore, cell: Cell, images: int) -> dict[range, list[Scored]]:
    """The parts whose scores are stored. A whole cell, as small sets and earlier versions have it, is all of its parts."""
    parts = parts_of(images)
    if whole := cells.load(cell, images=images):
        return {part: whole[part.start : part.stop] for part in parts}
    if len(parts) == 1:
        return {}
    stored = {part: cells.load(cell, images=images, part=part) for part in parts}
    return {part: items for part, items in stored.items() if items is not None}
