"""Several detectors on the same images: by view, by the format of the files, and every generator against camera JPEGs.

    lfm evaluate --weights=A.safetensors --data=TEST --protocol=tiles128 --views=as_is,all_q75 --out=evaluations/A
    lfm evaluate --weights=B.pth --data=TEST --protocol=crop256 --views=as_is,all_q75 --out=evaluations/B
    python -m benchmarks.peers --data=TEST evaluations/A evaluations/B

Prints three tables, in percent with 95 % intervals over resampled images. All images of TEST are ranked together, as many
folders of such a set hold one class only. The last table sets the fakes of each folder against all photographs that are
saved as JPEG: where all PNG photographs are of one kind, whoever knows that kind would look good.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from lfm_jax.data.kinds import kind_of_file
from lfm_jax.evaluation.bootstrap import interval, resamples
from lfm_jax.evaluation.metrics import detection_metrics, weighted_metrics
from lfm_jax.evaluation.saved import SavedEvaluation, read_evaluation

LOSSY = ("JPEG", "WEBP")
REPLICATES = 300


class Scored(NamedTuple):
    """A scored image and the format of its file."""

    kind: str
    generator: str
    label: int
    logit: float


def figures(records: Sequence[Scored], metrics: Sequence[str], name: str) -> list[str]:
    """Those metrics of these predictions in percent, each with its interval."""
    labels = np.array([record.label for record in records])
    if len(set(labels.tolist())) < 2:
        return ["-"] * len(metrics)
    logits = np.array([record.logit for record in records])
    point = detection_metrics(labels, logits)
    values = weighted_metrics(labels, logits, resamples(labels, name=name, replicates=REPLICATES))
    return [_with_interval(point[metric], interval(values[metric], point[metric])) for metric in metrics]


def tables(evaluations: Sequence[SavedEvaluation], data: Path) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """The title, the heads and the rows of each table."""
    kinds = {path: kind_of_file(data / path) for path in next(iter(evaluations[0].predictions.values()))}
    scored = {
        (evaluation.folder.name, *condition): [
            Scored(kinds[path], one.generator, one.label, one.logit) for path, one in predictions.items()
        ]
        for evaluation in evaluations
        for condition, predictions in evaluation.predictions.items()
    }
    rows = [
        [name, protocol, view, *_counts(records), *_ranked(records, view)] for (name, protocol, view), records in scored.items()
    ]
    yield "every view", ["weights", "protocol", "view", "real", "fake", "AP", "AUC", "found at 1 %", "found at 5 %"], rows
    as_is = {f"{name} {protocol}": records for (name, protocol, view), records in scored.items() if view == "as_is"}
    subsets: dict[str, Callable[[Scored], bool]] = {
        "PNG": lambda record: record.kind == "PNG",
        "JPEG and WebP": lambda record: record.kind in LOSSY,
        "lossy fakes, all photographs": lambda record: not record.label or record.kind in LOSSY,
        "PNG fakes, JPEG photographs": lambda record: record.kind == ("JPEG" if not record.label else "PNG"),
    }
    rows = [
        [name, subset, *_counts(chosen), *_ranked(chosen, subset)]
        for subset, belongs in subsets.items()
        for name, records in as_is.items()
        if (chosen := [record for record in records if belongs(record)])
    ]
    yield "as they are, by the format of the files", ["weights", "files", "real", "fake", "AP", "AUC", "at 1 %", "at 5 %"], rows
    yield "AUC of each folder's fakes against photographs saved as JPEG", ["folder", "fakes", *as_is], _by_folder(as_is)


def _by_folder(predictions: Mapping[str, Sequence[Scored]]) -> list[list[str]]:
    records = next(iter(predictions.values()))
    folders = sorted({record.generator for record in records if record.label})
    rows = []
    for folder in folders:
        cells = []
        for of_weights in predictions.values():
            cameras = [record for record in of_weights if not record.label and record.kind == "JPEG"]
            fakes = [record for record in of_weights if record.label and record.generator == folder]
            cells += figures([*cameras, *fakes], ["auc"], folder)
        formats = {record.kind for record in fakes}
        rows.append([folder, f"{len(fakes)} {'/'.join(sorted(formats))}", *cells])
    return rows


def _ranked(records: Sequence[Scored], name: str) -> list[str]:
    return figures(records, ["ap", "auc", "tpr_at_1_fpr", "tpr_at_5_fpr"], name)


def _counts(records: Sequence[Scored]) -> list[str]:
    return [str(sum(record.label == label for record in records)) for label in (0, 1)]


def _with_interval(value: float | None, ends: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" + (f" [{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]" if ends else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="the folder that was evaluated, for the formats of its files")
    parser.add_argument("evaluations", nargs="+", type=Path, help="output folders of lfm evaluate; their names are the weights'")
    args = parser.parse_args()
    for title, heads, rows in tables([read_evaluation(folder) for folder in args.evaluations], args.data):
        print(f"\n{title}\n\n{tabulate(rows, heads, tablefmt='github', disable_numparse=True)}")


if __name__ == "__main__":
    main()
