"""Training images per second by threads and by worker processes (`config.data.workers`), and what an image costs in CPU time.

python benchmarks/input_workers.py [--root ROOT] [--cores 1,2] [--seconds 20] [--side 512]

The script draws photograph-like JPEGs of 512 px unless --root names a folder with GROUP/{0_real,1_fake}/. Each row reads with as
many threads, or with as many workers of one thread each, as there are `--cores` in its place. CPU time is that of this process
and its workers, which other work on the machine does not change much, unlike the rate. Check first: all rows give the same bits.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax.data import synthetic
from lfm_jax.data.batch import Batch
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.folder import open_folder

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cores", default="1,2", help="numbers of threads, and of workers, to try")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row")
    parser.add_argument("--side", type=int, default=512, help="of the drawn JPEGs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if not args.root:
            draw(Path(scratch), args.side)
        source, rows, first = open_folder(args.root or scratch), [], None
        for kind in ("threads", "workers"):
            for count in map(int, args.cores.split(",")):
                data = config_lib.data()
                data.threads, data.workers = count, count if kind == "workers" else 0
                batches = TrainPipeline(source, data, seed=0).batches(0, 1 << 20, BATCH)
                batch = next(batches)["image"]
                first = batch if first is None else first
                np.testing.assert_array_equal(batch, first)
                rows.append([f"{count} {kind}", *measured(batches, args.seconds)])
                batches.close()
    print(tabulate(rows, ["", "images/s", "CPU ms per image"], tablefmt="github", floatfmt=("", ".0f", ".2f")))


def draw(root: Path, side: int, *, noise: float = 0.0, quality: int = 90) -> None:
    """Drawn JPEGs in GROUP/{0_real,1_fake}/, with noise of so many levels."""
    rng = np.random.default_rng(0)
    for index in range(64):
        pixels, label, generator = synthetic.example(0, "train", index, side)
        folder = root / generator / ("1_fake" if label else "0_real")
        folder.mkdir(parents=True, exist_ok=True)
        noisy = np.clip(pixels + rng.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8) if noise else pixels
        Image.fromarray(noisy).save(folder / f"{index:06d}.jpg", quality=quality)


def measured(batches: Iterator[Batch], seconds: float) -> tuple[float, float]:
    """Images per second, and CPU milliseconds per image, once all that was read ahead is used up."""
    for _ in range(config_lib.data().prefetch + 1):
        next(batches)
    start, before, images = time.perf_counter(), cpu_seconds(os.getpid()), 0
    while time.perf_counter() - start < seconds or images < 10 * BATCH:
        next(batches)
        images += BATCH
    elapsed, spent = time.perf_counter() - start, cpu_seconds(os.getpid()) - before
    return images / elapsed, 1e3 * spent / images


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_seconds, children))


if __name__ == "__main__":
    main()
