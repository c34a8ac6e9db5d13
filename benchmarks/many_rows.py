"""What an evaluation of very many scored images costs beside the scoring: memory and seconds, from scores to rows of results.

    python -m benchmarks.many_rows --rows 200000                   # as it is: binned resamples above the limit
    python -m benchmarks.many_rows --rows 200000 --exact           # every image drawn anew for each resample
    python -m benchmarks.many_rows --rows 200000 --processes 2     # what each process of two holds

The scores are drawn, no image is read. They are taken from a store of cells, as by a run that resumes when all is scored.
Prints for each process its memory before, its peak, the seconds, and the first row's intervals.
"""

import argparse
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from lfm_jax.data.facts import FileFacts
from lfm_jax.data.sources.base import Example
from lfm_jax.evaluation import tables
from lfm_jax.evaluation.evaluate import evaluate_network
from lfm_jax.inference.scoring import Scored
from lfm_jax.runtime.distributed import find_cluster, join
from lfm_jax.weights.card import Card


class DrawnScores:
    """A source without images, and the store in which all of its scores are: fakes two deviations above the reals."""

    name = "drawn scores"

    def __init__(self, rows: int, generators: int):
        rng, labels = np.random.default_rng(0), np.arange(rows) % 2
        self.examples = [
            Example(f"gen_{index // 2 % generators}/{label}/{index:08d}.jpg", int(label), "suite", f"gen_{index // 2 % generators}")
            for index, label in enumerate(labels)
        ]
        self.logits = rng.normal(2.0 * labels - 1, 1.0)

    def load(self, cell: Mapping[str, str], *, images: int) -> list[Scored]:
        return [Scored(index, 512, 512, float(self.logits[index]), facts=FileFacts("JPEG")) for index in range(images)]


def resident() -> float:
    """Peak of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(rows: int, generators: int) -> None:
    scores, network = DrawnScores(rows, generators), SimpleNamespace(card=Card(model={}))
    before, start = resident(), time.monotonic()
    in_rows, rows_of = [0.0], tables.cell_rows

    def timed(*args: Any, **options: Any) -> list[tables.Row]:
        begun = time.process_time()
        made = rows_of(*args, **options)
        in_rows[0] = time.process_time() - begun
        return made

    tables.cell_rows = timed
    evaluation = evaluate_network(network, scores, ["crop256"], cells=scores)  # type: ignore[arg-type]
    seconds = time.monotonic() - start
    shown = evaluation.rows[0]["interval"] if evaluation.rows else {}
    intervals = {name: [round(end, 5) for end in shown[name]] for name in ("acc", "ap", "auc") if name in shown}
    print(
        f"{len(evaluation.predictions)} rows here: {before:.0f} MiB before, {resident():.0f} at most, {seconds:.1f} s; metrics "
        f"and resamples {in_rows[0]:.1f} s of CPU time; {intervals}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--generators", type=int, default=1)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--of", help=argparse.SUPPRESS)  # ADDRESS,PROCESS: this is one of several
    args = parser.parse_args()
    if args.processes > 1 and not args.of:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        command = [sys.executable, "-m", "benchmarks.many_rows", *sys.argv[1:]]
        started = [subprocess.Popen([*command, f"--of={address},{number}"]) for number in range(args.processes)]
        sys.exit(max(process.wait() for process in started))
    if args.of:
        address, number = args.of.split(",")
        cluster = find_cluster(os.environ, coordinator=address, num_processes=args.processes, process_id=int(number))
        join(cluster)
    if args.exact:
        tables.EXACT_UP_TO = args.rows
    measure(args.rows, args.generators)


if __name__ == "__main__":
    main()
