"""What a host does for a training step: images from files, from its memory, and for images that live on the devices.

python -m benchmarks.resident [--root ROOT] [--batch 64] [--steps 4] [--rounds 5]

CPU milliseconds of this process per step, the ways in turns, so that other work on the machine only adds; and the bytes that go to
the devices. Draws photograph-like JPEGs of 512 px unless --root names a folder with GROUP/{0_real,1_fake}/. Crops are of 224 px;
"degraded" is `as_files_are` without WebP around crops of 128 px.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tabulate import tabulate

from benchmarks.input_workers import draw
from lfm_jax import config as config_lib
from lfm_jax.data import augmentations
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Source
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.runtime import sharding
from lfm_jax.training import resident

Batches = Callable[[int, int], Iterator[Mapping[str, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--side", type=int, default=512, help="of the drawn JPEGs")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        images = args.root or Path(scratch) / "images"
        if not args.root:
            draw(images, args.side, noise=6, quality=92)
        rows = measured(ways(open_folder(images), args.batch), args)
    print(f"{args.batch} images a step")
    print(tabulate(rows, ["", "CPU ms of the host per step", "MB to the devices"], tablefmt="github", floatfmt=("", ".1f", ".3f")))


def ways(source: Source, batch: int) -> dict[str, Batches]:
    """Ways to make batches, each a function of the first step and the one after the last."""
    crops, degraded = config_lib.data(), config_lib.data()
    degraded.resize, degraded.crop, degraded.augment = 0, 128, augmentations.as_files_are()
    degraded.augment.webp.p = 0.0
    made: dict[str, Batches] = {}
    for name, data, on in (("crops", crops, "host"), ("degraded", degraded, "device")):
        for place in ("files", "memory", "devices"):
            way = data.copy_and_resolve_references()
            way.threads, way.augment_on = 2, on
            way.cache_mib = 4096 if place == "memory" else 0
            pipeline = TrainPipeline(source, way, seed=0)
            if place == "devices":
                resident.load(pipeline, sharding.data_mesh())
            made[f"{name}, images from {place}"] = batches_of(pipeline, batch)
        if name == "degraded":
            data.augment_on = "host"
            made[f"{name} on the host, images from files"] = batches_of(TrainPipeline(source, data, seed=0), batch)
    return made


def batches_of(pipeline: TrainPipeline, batch: int) -> Batches:
    return lambda first, last: pipeline.batches(first, last, batch)


def measured(made: dict[str, Batches], args: argparse.Namespace) -> list[list[Any]]:
    """Name, least CPU milliseconds per step of all rounds after the first, and MB per step, for each way."""
    spent: dict[str, list[float]] = {name: [] for name in made}
    sent = {}
    for round_ in range(args.rounds + 1):  # the first to warm up, and to fill the memory
        for name, batches in made.items():
            first = 0 if name.endswith("memory") else round_ * args.steps
            before = time.process_time()
            for batch in batches(first, first + args.steps):
                sent[name] = sum(np.asarray(array).nbytes for array in batch.values()) / 1e6
            spent[name].append(1e3 * (time.process_time() - before) / args.steps)
    return [[name, min(times[1:]), sent[name]] for name, times in spent.items()]


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
