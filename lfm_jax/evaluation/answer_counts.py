"""How often each of the three answers was given to generated pictures and to photographs, as counts and as sentences."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lfm_jax.evaluation.tables import grouped
from lfm_jax.inference.answers import kind_of_doubt
from lfm_jax.inference.verdict import ANSWERS, FOUND, NONE, NOT_PROOF, UNKNOWN

CELL = ("weights", "protocol", "view")
KINDS = ("photographs", "generated")  # by label


def answer_counts(predictions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Predictions with `verdict` and `why` -> for each cell its names, {answer: count} of each of KINDS, and `doubts`.

    `doubts` counts why nothing can be said, or why "no trace found" rests on nothing that was measured.
    """
    cells = []
    for names, group in grouped(predictions, lambda p: tuple(p[name] for name in CELL)).items():
        given = {kind: Counter(p["verdict"] for p in group if p["label"] == label) for label, kind in enumerate(KINDS)}
        counts = {kind: {answer: counted[answer] for answer in ANSWERS} for kind, counted in given.items()}
        doubts = {answer: Counter(kind_of_doubt(p) for p in group if p["verdict"] == answer and p["why"]) for answer in ANSWERS}
        said = {answer: dict(counted.most_common()) for answer, counted in doubts.items() if counted}
        cells.append({**dict(zip(CELL, names, strict=True)), **counts, "doubts": said})
    return cells


def sentences(cell: Mapping[str, Any]) -> list[str]:
    """What came of a cell, for a reader who knows nothing of metrics; an element of `answer_counts` -> its sentences."""
    photographs, generated = cell["photographs"], cell["generated"]
    found, accused = _of(generated, FOUND, "generated picture"), _of(photographs, FOUND, "photograph")
    lines = [f"Found {found}, accused {accused}."]
    if unsaid := generated[UNKNOWN] + photographs[UNKNOWN]:
        why = ", ".join(f"{count} {word}" for word, count in cell["doubts"].get(UNKNOWN, {}).items())
        of_each = f"{generated[UNKNOWN]} generated, {_many(photographs[UNKNOWN], 'photograph')}"
        lines.append(f"Of {_many(unsaid, 'file')} nothing can be said ({of_each}): {why}.")
    if silent := generated[NONE] + photographs[NONE]:
        lines.append(f"In {_many(silent, 'file')} it found no trace, and {generated[NONE]} of these are generated. {NOT_PROOF}")
    if unmeasured := cell["doubts"].get(NONE, {}).get("never measured"):
        lines.append(
            f"Whether it can see anything in files like {unmeasured} of these was never measured; lfm calibrate does that."
        )
    return lines


def _of(counts: Mapping[str, int], answer: str, what: str) -> str:
    """ "11 of 33 generated pictures" """
    return f"{counts[answer]} of {_many(sum(counts.values()), what)}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
