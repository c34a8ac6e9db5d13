"""What tells photographs from their aligned fakes, besides the decoder: format, size, sharpness and colour, by a simple classifier.

    python -m benchmarks.aligned --data=CORPUS/train --fakes=ALIGNED

A logistic regression is fitted on the pairs of four fifths of the sources and ranks those of the rest, in five turns. AP is
over both halves of every pair; chance is 50 %. For each kind of feature and for all together.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tabulate import tabulate

from lfm_jax.data.images import decode
from lfm_jax.data.kinds import kind_of_file
from lfm_jax.data.prepare.align import fake_path
from lfm_jax.data.sources.folder import open_folder

Features = Callable[[Path, np.ndarray], list[float]]  # (file, pixels float32 [H, W, 3] in 0..255) -> numbers


def container(file: Path, pixels: np.ndarray) -> list[float]:
    """Format, sides, and bytes per pixel."""
    height, width = pixels.shape[:2]
    return [float(kind_of_file(file) == "JPEG"), float(height), float(width), 8 * file.stat().st_size / (height * width)]


def colour(file: Path, pixels: np.ndarray) -> list[float]:
    """Mean, deviation and extremes of each channel."""
    values = pixels.reshape(-1, 3)
    return np.concatenate([values.mean(0), values.std(0), np.quantile(values, (0.01, 0.99), axis=0).ravel()]).tolist()


def sharpness(file: Path, pixels: np.ndarray) -> list[float]:
    """Mean magnitude of the Laplacian and of differences 1, 2 and 4 px apart, in logarithms."""
    grey = pixels.mean(2)
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    steps = [np.abs(grey[:, distance:] - grey[:, :-distance]).mean() for distance in (1, 2, 4)]
    return np.log([np.abs(laplacian).mean() + 0.1, *(step + 0.1 for step in steps)]).tolist()


KINDS: dict[str, Features] = {"format, size, bytes": container, "colour": colour, "sharpness": sharpness}
CLASSIFIERS = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "boosted trees": lambda: HistGradientBoostingClassifier(max_iter=100, random_state=0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="the photographs, GROUP/0_real")
    parser.add_argument("--fakes", required=True, type=Path, help="their aligned fakes, as lfm data align made them")
    args = parser.parse_args()
    source = open_folder(args.data)
    pairs = [(args.data / one.path, args.fakes / fake_path(one.path), one.generator) for one in source.examples if one.label == 0]
    pairs = [pair for pair in pairs if pair[1].is_file()]
    sources = np.repeat([pair[2] for pair in pairs], 2)
    labels = np.tile([0, 1], len(pairs))
    features: dict[str, list[list[float]]] = {name: [] for name in KINDS}
    for file in (file for pair in pairs for file in pair[:2]):
        pixels = np.asarray(decode(file), np.float32)
        for name, compute in KINDS.items():
            features[name].append(compute(file, pixels))
    table = {name: np.array(values) for name, values in features.items()}
    table["all"] = np.concatenate(list(table.values()), 1)
    rows = []
    for name, values in table.items():
        row = [name]
        for make in CLASSIFIERS.values():
            scores = np.zeros(len(labels))
            for train, test in GroupKFold(5).split(values, labels, sources):
                scores[test] = make().fit(values[train], labels[train]).predict_proba(values[test])[:, 1]
            row.append(f"{100 * average_precision_score(labels, scores):.1f}")
        rows.append(row)
    print(f"{len(pairs)} pairs of {len(set(sources.tolist()))} sources; AP in percent\n")
    print(tabulate(rows, ["features", *CLASSIFIERS], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
