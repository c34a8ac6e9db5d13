"""The output folder of an evaluation, read back."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lfm_jax.data.views import current_name
from lfm_jax.errors import DataError

Condition = tuple[str, str]  # protocol and view: a cell of either evaluation, since each is of one set of weights


@dataclass(frozen=True)
class SavedEvaluation:
    """What `lfm evaluate` left in `folder`.

    Attributes:
      weights: sha256 of the weights' content.
      data_sha256: "" if the evaluation did not record it.
      options: threshold and temperature of the weights.
      predictions: of each condition, by path, as in predictions.tsv.
      unscored: of each condition, the paths that could not be scored.
    """

    folder: Path
    weights: str
    data_sha256: str
    options: dict[str, float]
    predictions: dict[Condition, dict[str, dict[str, str]]]
    unscored: dict[Condition, set[str]]


def read_evaluation(folder: Path) -> SavedEvaluation:
    """Reads an output folder of `lfm evaluate`; views are called by their current names.

    Raises:
      DataError: its files are missing, or hold several sets of weights.
    """
    missing = [name for name in ("predictions.tsv", "results.json") if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} is not an output folder of lfm evaluate: it has no {' and no '.join(missing)}")
    results = json.loads((folder / "results.json").read_text())
    if len(results["cards"]) != 1:
        names = ", ".join(card["weights_sha256"][:12] for card in results["cards"])
        raise DataError(f"{folder} holds {len(results['cards'])} sets of weights ({names}): give folders with one set each")
    (card,) = results["cards"]
    predictions: dict[Condition, dict[str, dict[str, str]]] = {_condition(row): {} for row in results["rows"]}
    unscored: dict[Condition, set[str]] = {condition: set() for condition in predictions}
    with open(folder / "predictions.tsv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        for record in csv.DictReader(file, delimiter="\t"):
            predictions[_condition(record)][record["path"]] = record
    for error in results["errors"]:
        unscored.setdefault(_condition(error), set()).add(error["path"])
    options = {name: card[name] for name in ("threshold", "temperature")}
    return SavedEvaluation(folder, card["weights_sha256"], results["data_sha256"], options, predictions, unscored)


def _condition(record: Mapping[str, str]) -> Condition:
    return record["protocol"], current_name(record["view"])
