"""The output folder of an evaluation, read back."""

import csv
import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lfm_jax.data.views import current_name
from lfm_jax.errors import DataError, first_line
from lfm_jax.weights.integrity import check_hashes, json_hash

REPEAT = "run the same lfm evaluate again; it resumes from the cells that are whole"
PROOF = "sha256"  # of the other fields of results.json; earlier versions wrote none
Condition = tuple[str, str]  # protocol and view: a cell of either evaluation, since each is of one set of weights


class SavedPrediction(NamedTuple):
    """What is needed of a line of predictions.tsv; there may be millions."""

    suite: str
    generator: str
    label: int
    logit: float


@dataclass(frozen=True)
class SavedEvaluation:
    """What `lfm evaluate` left in `folder`.

    Attributes:
      weights: sha256 of the weights' content.
      data_sha256: "" if the evaluation did not record it.
      options: threshold and temperature of the weights.
      predictions: of each condition, by path.
      unscored: of each condition, the paths that could not be scored.
    """

    folder: Path
    weights: str
    data_sha256: str
    options: dict[str, float]
    predictions: dict[Condition, dict[str, SavedPrediction]]
    unscored: dict[Condition, set[str]]


def read_evaluation(folder: Path) -> SavedEvaluation:
    """Reads an output folder of `lfm evaluate`; views are called by their current names.

    Raises:
      DataError: its files are missing, damaged or of different runs, or hold several sets of weights.
    """
    missing = [name for name in ("predictions.tsv", "results.json") if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} is not an output folder of lfm evaluate: it has no {' and no '.join(missing)}")
    results = read_results(folder)
    try:
        return _read(folder, results)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise DataError(f"{folder} is damaged ({type(error).__name__}: {first_line(error)}): {REPEAT}") from None


def read_results(folder: Path) -> dict[str, Any]:
    """What is in the results.json of an output folder. Raises DataError if that is missing, empty or damaged."""
    file = folder / "results.json"
    try:
        results = json.loads(file.read_bytes())
        if not isinstance(results, dict):
            raise ValueError("it does not hold the fields of an evaluation")
        check_hashes({"its content": results.pop(PROOF, json_hash(results))}, {"its content": json_hash(results)})
    except FileNotFoundError:
        raise DataError(f"{folder} is not an output folder of lfm evaluate: it has no results.json") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged ({first_line(error)}): {REPEAT}") from None
    return results


def _read(folder: Path, results: Mapping[str, Any]) -> SavedEvaluation:
    if len(results["cards"]) != 1:
        names = ", ".join(card["weights_sha256"][:12] for card in results["cards"])
        raise DataError(f"{folder} holds {len(results['cards'])} sets of weights ({names}): give folders with one set each")
    (card,) = results["cards"]
    predictions: dict[Condition, dict[str, SavedPrediction]] = {_condition(row): {} for row in results["rows"]}
    unscored: dict[Condition, set[str]] = {condition: set() for condition in predictions}
    file = folder / "predictions.tsv"
    with open(file, encoding="utf-8", errors="surrogateescape", newline="") as text:
        for record in csv.DictReader(text, delimiter="\t"):
            logit, label = float(record["logit"]), record["label"]
            if not math.isfinite(logit) or label not in ("0", "1"):
                raise ValueError(f"predictions.tsv has label {label} and logit {logit} for {record['path']}")
            suite, generator = sys.intern(record["suite"]), sys.intern(record["generator"])
            predictions[_condition(record)][record["path"]] = SavedPrediction(suite, generator, int(label), logit)
    with open(file, "rb") as data:
        sha256 = hashlib.file_digest(data, "sha256").hexdigest()
    _require_whole(folder, results, predictions, sha256)
    for error in results["errors"]:
        unscored.setdefault(_condition(error), set()).add(error["path"])
    options = {name: card[name] for name in ("threshold", "temperature")}
    return SavedEvaluation(folder, card["weights_sha256"], results["data_sha256"], options, predictions, unscored)


def _require_whole(
    folder: Path, results: Mapping[str, Any], predictions: Mapping[Condition, Mapping[str, Any]], sha256: str
) -> None:
    """Raises DataError if predictions.tsv is not what results.json was written with."""
    expected: Counter[Condition] = Counter()
    for row in results["rows"]:
        if row["level"] == "generator":
            expected[_condition(row)] += row["n_real"] + row["n_fake"]
    for condition, by_path in predictions.items():
        if len(by_path) != expected[condition]:
            raise DataError(
                f"{folder / 'predictions.tsv'} holds {len(by_path)} predictions under {' '.join(condition)}, results.json counts "
                f"{expected[condition]}: {REPEAT}"
            )
    if results.get("predictions_sha256", sha256) != sha256:  # earlier versions wrote none
        raise DataError(f"{folder / 'predictions.tsv'} is not the file that results.json was written with: {REPEAT}")


def _condition(record: Mapping[str, str]) -> Condition:
    return record["protocol"], current_name(record["view"])
