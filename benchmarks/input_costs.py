"""What one training image costs on one thread, step by step: CPU time, and time that holds Python's global lock.

python benchmarks/input_costs.py [--root ROOT] [--images 400] [--side 512] [--pixels]

The script draws photograph-like JPEGs with a little noise unless --root names a folder with GROUP/{0_real,1_fake}/. The share of
time under the lock is sampled by gilknocker (pip install gilknocker), with nothing else running in this process; without it that
column is empty. One process feeds at most 1 / (seconds under the lock) images per second, whatever its threads.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

from benchmarks.input_workers import draw
from lfm_jax import config as config_lib
from lfm_jax.data.images import decode_bytes
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.data.sources.open import open_split
from lfm_jax.data.sources.pixels import store_pixels
from lfm_jax.data.sources.records import find_one_prepared

ROUNDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--images", type=int, default=200, help="of each round")
    parser.add_argument("--side", type=int, default=512, help="of the drawn JPEGs")
    parser.add_argument("--pixels", action="store_true", help="also from prepared data, by file and from stored pixels")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        images = args.root or Path(scratch) / "images"
        if not args.root:
            draw(images, args.side, noise=6, quality=92)
        source = open_folder(images)
        files = [source.encoded(index) for index in range(min(len(source.examples), 64))]
        pipeline = TrainPipeline(source, config_lib.data(), seed=0)
        steps: dict[str, Callable[[int], object]] = {
            "PIL alone: decode": lambda i: bare(files[i % len(files)]),
            "decode": lambda i: decode_bytes(files[i % len(files)]),
            "read, decode, resize, crop, flip": lambda i: pipeline[i],
        }
        if args.pixels:
            steps |= from_prepared(images, Path(scratch))
        rows = [[name, *cost(step, args.images)] for name, step in steps.items()]
    print(f"{len(files)} files of {np.mean([len(file) for file in files]) / 1e3:.0f} kB")
    print(tabulate(rows, ["", "CPU ms per image", "ms under the lock"], tablefmt="github", floatfmt=("", ".3f", ".3f")))


def from_prepared(images: Path, scratch: Path) -> dict[str, Callable[[int], object]]:
    (scratch / "data").mkdir()
    (scratch / "data" / "train").symlink_to(images.absolute() / "", target_is_directory=True)
    prepare_folder(scratch / "data", scratch / "out")
    data = config_lib.data()
    data.source, data.root = "tfds", str(scratch / "out")
    store_pixels(find_one_prepared(data.root), data.resize, threads=data.threads)
    files = TrainPipeline(open_split(data, "train", seed=0), data, seed=0)
    data.pixels = data.resize
    stored = TrainPipeline(open_split(data, "train", seed=0), data, seed=0)
    return {"prepared: files": lambda i: files[i], "prepared: stored pixels": lambda i: stored[i]}


def bare(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def cost(step: Callable[[int], object], images: int) -> tuple[float, float | None]:
    """Least of all rounds: CPU milliseconds per image, and those of them under the lock. Other work on the machine only adds."""
    spent, locked = [], []
    for round_ in range(ROUNDS + 1):  # the first to warm up
        watch = locked_share()
        before = time.thread_time()
        for index in range(round_ * images, (round_ + 1) * images):
            step(index)
        spent.append(1e3 * (time.thread_time() - before) / images)
        share = watch()
        if share is not None:
            locked.append(share * spent[-1])
    return min(spent[1:]), min(locked[1:], default=None)


def locked_share() -> Callable[[], float | None]:
    """Begins to watch the lock; the function that is returned ends that, and gives the share of time that it was held."""
    try:
        from gilknocker import KnockKnock
    except ImportError:
        return lambda: None
    knocker = KnockKnock(100)  # microseconds between samples
    knocker.start()

    def end() -> float:
        share = knocker.contention_metric
        knocker.stop()
        return float(share)

    return end


if __name__ == "__main__":
    main()
