"""What calibrating on very many scored images costs, and comparing two evaluations of them: seconds, and memory at its peak.

    python -m benchmarks.many_scores --rows 1000000 --what calibrate,compare

The scores are drawn, no image is read. Each part has a process of its own, so that one's peak is not that of another.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lfm_jax.data.facts import FileFacts
from lfm_jax.data.sources.base import Example
from lfm_jax.evaluation import calibrate
from lfm_jax.evaluation.compare import compare_evaluations
from lfm_jax.evaluation.saved import read_evaluation
from lfm_jax.inference.scoring import Scored
from lfm_jax.weights.card import Card


def peak() -> float:
    """Of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Paths:
    """Examples that take no memory."""

    def __init__(self, rows: int):
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> Example:
        return Example(f"gen/{index % 2}/{index:08d}.jpg", index % 2, "suite", "gen")


def run_calibrate(rows: int, _: Path) -> tuple[float, float]:
    logits = np.random.default_rng(0).normal(2.0 * (np.arange(rows) % 2) - 1, 1.0)

    def scored(*_: Any, **__: Any) -> Iterator[Scored]:
        for index in range(rows):
            facts = FileFacts("JPEG", 60 + index % 40, lossy=True)
            yield Scored(index, 512, 512, float(logits[index]), facts=facts)

    if hasattr(calibrate, "stream_together"):
        calibrate.stream_together = scored
    else:  # of earlier versions, which had a list
        calibrate.score_together = lambda *arguments, **options: list(scored())
    source = SimpleNamespace(name="drawn scores", examples=Paths(rows))
    network = SimpleNamespace(card=Card(model={}))
    before, start = peak(), time.process_time()
    card, _errors = calibrate.calibrate_network(network, source, protocol="crop256")  # type: ignore[arg-type]
    print(f"threshold {card.threshold:.4f}, {card.calibration['threshold_interval']}", flush=True)
    return peak() - before, time.process_time() - start


def run_compare(rows: int, scratch: Path) -> tuple[float, float]:
    before, start = peak(), time.process_time()
    comparison = compare_evaluations(*(read_evaluation(scratch / name) for name in "ab"))
    row = comparison.rows[0]
    print({name: row[name]["interval"] for name in ("acc", "ap", "auc")}, flush=True)
    return peak() - before, time.process_time() - start


def write_evaluations(rows: int, scratch: Path) -> None:
    rng, labels = np.random.default_rng(0), np.arange(rows) % 2
    hardness, condition = rng.normal(size=rows), {"protocol": "crop256", "view": "as_is"}
    for name, strength in (("a", 1.0), ("b", 1.1)):
        (scratch / name).mkdir()
        logits = strength * (2 * labels - 1) + hardness + rng.normal(0, 0.5, rows)
        with open(scratch / name / "predictions.tsv", "w") as out:
            out.write("path\tsuite\tgenerator\tlabel\tlogit\tscore\tprotocol\tview\tweights\n")
            for index, logit in enumerate(logits):
                out.write(
                    f"gen/{index % 2}/{index:08d}.jpg\tsuite\tgen\t{index % 2}\t{float(logit)!r}\t0.5\tcrop256\tas_is\t{name}\n"
                )
        counts = {"n_real": int((labels == 0).sum()), "n_fake": int(labels.sum())}
        card = {"weights_sha256": name, "threshold": 0.5, "temperature": 1.0}
        row = {**condition, "level": "generator", **counts}
        results = {"rows": [row], "cards": [card], "errors": [], "data_sha256": "d"}
        (scratch / name / "results.json").write_text(json.dumps(results))


PARTS = {"calibrate": run_calibrate, "compare": run_compare}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--what", default=",".join(PARTS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if "compare" in args.what:
            write_evaluations(args.rows, scratch)
        for name in args.what.split(","):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                grown, seconds = pool.apply(PARTS[name], (args.rows, scratch))
            print(f"{name} {args.rows}: {grown:.0f} MiB more at the peak, {seconds:.1f} s of CPU time", flush=True)


if __name__ == "__main__":
    main()
