"""PyTorch's rows for benchmarks/gpu.py, in a process of its own: beside JAX, which takes most of the memory, it would starve.

python benchmarks/gpu_pytorch.py FILE.npz      # as gpu.py wrote it; prints one JSON row per line

FILE.npz holds what to time ("what": score or train), the state dict ("state:KEY"), images [N, B, H, W, 3], what lfm_jax made of the
first batch in float32 ("expected"), the seconds for each row, and the widths, maps and k of the network.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout that is not installed

import numpy as np

import benchmarks.bare  # noqa: F401  before whatever imports ml_collections
from benchmarks.gpu_table import timed
from lfm_jax.bench import pytorch
from lfm_jax.bench.measuring import mismatch, short_reason
from lfm_jax.bench.rows import Row

Work = Callable[[np.ndarray], Any]


def rows(given: Any) -> Iterator[Row]:
    """A row for each way of PyTorch whose first result agrees."""
    state = {key.removeprefix("state:"): given[key] for key in given.files if key.startswith("state:")}
    shape = tuple(given["widths"].tolist()), int(given["maps"]), int(given["k"])
    made = scorers if str(given["what"]) == "score" else trainers
    images, seconds = given["images"], float(given["seconds"])
    for name, make in made(lambda: pytorch.load(state, *shape), len(images[0])).items():
        row = Row(name, len(images[0]))
        try:
            work = make()
            result, row.memory = pytorch.measure_gpu_memory(work, images[0])
            row.skipped = mismatch(np.asarray(result), given["expected"], "bfloat16" if made is trainers else name.split()[-1])
            if not row.skipped:
                timing = timed(
                    lambda count, work=work: [work(images[number % len(images)]) for number in range(count)], seconds=seconds
                )
                row.fill(timing, reference=timing, flops=0, peak=0.0)
                row.ratio = 0.0
        except Exception as error:  # one way that fails, out of memory for instance, must not end the table
            row.skipped = short_reason(error)
        yield row


def run(work: Work, images: np.ndarray, count: int) -> None:
    for number in range(count):
        work(images[number % len(images)])


def scorers(load: Callable[[], Any], _batch: int) -> dict[str, Callable[[], Work]]:
    ways = pytorch.scorers(load())
    return {name: lambda way=way: way for name, way in ways.items()}


def trainers(load: Callable[[], Any], batch: int) -> dict[str, Callable[[], Work]]:
    labels = np.arange(batch, dtype=np.float32) % 2
    made: dict[str, Callable[[], Work]] = {}
    for mode in ("eager", "compiled"):
        for precision in pytorch.precisions():

            def make(mode: str = mode, precision: str = precision) -> Work:
                step = pytorch.trainer(load(), precision=precision, compiled=mode == "compiled")
                return lambda images: step(images, labels)

            made[f"PyTorch {mode} {precision}"] = make
    return made


if __name__ == "__main__":
    with np.load(sys.argv[1]) as file:
        for made_row in rows(file):
            print(json.dumps(made_row.to_json()), flush=True)
