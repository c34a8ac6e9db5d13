"""Temperature and threshold of a network, fitted on validation images (see `fitting`).

The same images show the operating range: in which files these weights find fakes at that threshold, and in which they are
blind. A threshold chosen on the very images that are then reported is an oracle's: `leak` (in `leaks`) finds such images, and
weights calibrated on them all the same are marked.
"""

import dataclasses
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tabulate import tabulate

from lfm_jax.data import views
from lfm_jax.data.facts import LOSSLESS, FileFacts
from lfm_jax.data.sources.base import Source
from lfm_jax.data.views import ViewedSource
from lfm_jax.errors import DataError
from lfm_jax.evaluation.fitting import REPORTED, counts, fit, require_both
from lfm_jax.evaluation.metrics import METRICS
from lfm_jax.inference.network import Network
from lfm_jax.inference.scoring import Scored, stream_together
from lfm_jax.weights import operating_range
from lfm_jax.weights.card import Card
from lfm_jax.weights.score import is_fake


def calibrate_network(
    network: Network,
    source: Source,
    *,
    protocol: str,
    view: str = views.AS_IS,
    objective: str = "accuracy",
    oracle: str | None = None,
    data_sha256: str = "",
    only_range: bool = False,
    batch_size: int = 32,
    threads: int = 8,
) -> tuple[Card, list[dict[str, str]]]:
    """Scores `source`, fits temperature and threshold, and measures the operating range at that threshold.

    Args:
      oracle: why these are test images; None if they are not.
      only_range: leave temperature and threshold as they are.

    Returns:
      The network's card with temperature, threshold, `calibration` and `operating_range`, and {path, error} for each image
      not scored.
    """
    seen_through = views.parse(view)
    items = stream_together(network, ViewedSource(source, seen_through), protocol, batch_size=batch_size, threads=threads)
    scores, card = _Scores(source, items), network.card
    labels, logits, errors = scores.labels, scores.logits, scores.errors
    if errors and len(set(labels.tolist())) < 2:
        n_real, n_fake = counts(labels)
        raise DataError(
            f"{n_real} real and {n_fake} fake images were scored, and a threshold needs both; {len(errors)} could not be scored, "
            f"the first of them {errors[0]['path']}: {errors[0]['error']}"
        )
    if only_range:
        require_both(labels)
        return _with_range(card, source, scores, protocol=protocol, data_sha256=data_sha256), errors
    fitted = fit(labels, logits, objective, threshold=card.threshold, temperature=card.temperature)
    n_real, n_fake = counts(labels)
    calibration = {
        "data": source.name,
        "data_sha256": data_sha256,
        "n_real": n_real,
        "n_fake": n_fake,
        "protocol": protocol,
        "view": seen_through.name,
        "objective": objective,
        "threshold_interval": fitted.interval,
        "before": fitted.before,
        "after": fitted.after,
        "oracle": oracle is not None,
        "remarks": [*([oracle] if oracle else []), *fitted.remarks],
    }
    calibrated = dataclasses.replace(card, temperature=fitted.temperature, threshold=fitted.threshold, calibration=calibration)
    return _with_range(calibrated, source, scores, protocol=protocol, data_sha256=data_sha256), errors


class _Scores:
    """What calibration keeps of scored images, 18 bytes of each: of the scored ones, and the path and reason of the others."""

    def __init__(self, source: Source, items: Iterable[Scored]):
        labels, logits, sides, kinds = array("b"), array("d"), array("i"), array("I")
        numbers: dict[FileFacts | None, int] = {}
        self.errors: list[dict[str, str]] = []
        for item in items:
            example = source.examples[item.index]
            if item.error is not None:
                self.errors.append({"path": example.path, "error": item.error})
            if item.logit is not None:
                assert example.label is not None
                labels.append(example.label)
                logits.append(item.logit)
                sides.append(min(item.width, item.height))
                kinds.append(numbers.setdefault(item.facts, len(numbers)))
        self.labels, self.logits = np.array(labels, np.int64), np.array(logits)
        self._sides, self._kinds, self._facts = sides, kinds, list(numbers)

    def called(self, card: Card) -> Iterator[tuple[FileFacts, int, bool, bool]]:
        """Of each image that was a file its facts, its shorter side, whether it is a fake, and whether the card calls it one."""
        called = is_fake(self.logits / card.temperature, card.threshold)
        for place, (side, kind) in enumerate(zip(self._sides, self._kinds, strict=True)):
            if facts := self._facts[kind]:
                yield facts, side, bool(self.labels[place]), bool(called[place])


def _with_range(card: Card, source: Source, scores: _Scores, *, protocol: str, data_sha256: str) -> Card:
    """The card with the operating range that scored images show at its threshold. Images that never were files are left out."""
    measured = operating_range.measure(
        scores.called(card), protocol=protocol, cut=card.cut, data=Path(source.name).name, data_sha256=data_sha256
    )
    kept = {name: one.to_values() for name, one in card.ranges.items() if name != protocol}
    return dataclasses.replace(card, operating_range=kept | ({protocol: measured.to_values()} if measured else {}))


def range_table(card: Card, protocol: str) -> str:
    """The operating range of a card under a protocol: what was counted for each kind of file, and what follows."""
    measured = card.ranges.get(protocol)
    if measured is None:
        return "no operating range: none of these images were files"
    lines = [
        [*_place(cell), f"{cell.found} of {cell.fakes}", f"{cell.accused} of {cell.photographs}", _meaning(cell)]
        for cell in measured.cells
        if not cell.side or cell.known
    ]
    heads = ["files", "quality", "side, px", "fakes found", "photos accused", ""]
    table = tabulate(lines, heads, tablefmt="simple", disable_numparse=True)
    return f"operating range under {measured.protocol}, at the logit {measured.cut:.4g}\n\n{table}"


def _place(cell: operating_range.Counts) -> list[str]:
    return ["PNG, lossless" if cell.kind == LOSSLESS else cell.kind, cell.quality or "any", cell.side or "any"]


def _meaning(cell: operating_range.Counts) -> str:
    if not cell.known:
        return f"too few (under {operating_range.ENOUGH} of a label)"
    return "blind" if cell.blind else f"sees{', but accuses often' if cell.accuses else ''}"


def calibration_table(before: Card, after: Card) -> str:
    """Cards before and after `calibrate_network` -> what was fitted, and how well it does on the same images."""
    notes = after.calibration
    heads = ["", "temperature", "threshold", *(METRICS[metric]().heading for metric in REPORTED.values())]
    lines = [
        [name, f"{card.temperature:.4g}", f"{card.threshold:.4f}", *(f"{notes[name][metric]:.4f}" for metric in REPORTED)]
        for name, card in {"before": before, "after": after}.items()
    ]
    table = tabulate(lines, heads, tablefmt="simple", disable_numparse=True, colalign=["left"] + ["right"] * 5)
    images = f"{notes['n_real']} real and {notes['n_fake']} fake images of {notes['data']}"
    scored = f"{images}, {notes['protocol']}, view {notes['view']}"
    ends = notes["threshold_interval"]
    within = f"95 % interval {ends[0]:.4f} to {ends[1]:.4f}" if ends else "too few images for an interval"
    fitted = f"threshold for {notes['objective']}, {within}"
    return f"{scored}\n\n{table}\n\n{fitted}; these figures are for the images it was fitted on"
