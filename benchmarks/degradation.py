"""Degradation on the host and on the device: how alike they are, and what an image costs in CPU time.

python benchmarks/degradation.py [--root ROOT] [--batches 10] [--rounds 3]

First JPEG against Pillow, by quality: pictures of --root (GROUP/{0_real,1_fake}/) or drawn ones. Then, by preset, the CPU time of
reading a training image with crop and flip alone, degraded on the host, and as the device takes it; and of the training step of
LFM without and with degradation, on this machine's CPU as the device. CPU time is that of the process, which other work on the
machine changes less than it does the rate.
"""

import argparse
import functools
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from tabulate import tabulate

from benchmarks.input_workers import draw
from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.data import augmentations
from lfm_jax.data.on_device import degradation_of
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Source
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.ops.jpeg import jpeg
from lfm_jax.runtime import sharding
from lfm_jax.training import optim
from lfm_jax.training.run import fresh_state
from lfm_jax.training.step import compiled_step

BATCH, SIDE = 32, 256
QUALITIES = (30, 50, 75, 90, 96)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if not args.root:
            draw(Path(scratch), 512)
        source = open_folder(args.root or scratch)
        print(tabulate(list(against_pillow(source)), ["JPEG", "images", "differ", "median", "worst"], tablefmt="github"))
        rows = [row(source, name, config, args) for name, config in presets().items()]
    print(tabulate(rows, ["CPU ms per image", *COLUMNS], tablefmt="github", floatfmt=".2f"))


def against_pillow(source: Source):
    """Rows: what differs by quality, as a share of the values, and the median and the worst difference in levels."""
    images = [source.image(index) for index in range(len(source.examples))]
    crops = [np.asarray(image.crop((0, 0, SIDE, SIDE))) for image in images if min(image.size) >= SIDE][:64]
    side = jnp.full(8, SIDE)
    for subsampling in ("4:2:0", "4:4:4"):
        ours = jax.jit(functools.partial(jpeg, height=side, width=side, subsampling=subsampling))
        for quality in QUALITIES:
            differences = []
            for first in range(0, len(crops) // 8 * 8, 8):
                pixels = np.stack(crops[first : first + 8])
                planes = ours(jnp.moveaxis(jnp.float32(pixels), -1, 1), jnp.full(8, quality))
                read_back = np.stack([saved(image, quality, subsampling) for image in pixels])
                differences.append(np.abs(np.moveaxis(np.asarray(planes), 1, -1) - read_back))
            levels = np.concatenate(differences)
            yield f"{quality}, {subsampling}", len(levels), f"{(levels > 0).mean():.1e}", np.median(levels), levels.max()


def saved(pixels: np.ndarray, quality: int, subsampling: str) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file), np.float32)


def presets() -> dict[str, ConfigDict]:
    """Training configs by name; WebP, which the device lacks, is left out."""
    configs = {}
    for name, augment in {
        "cnndetection(), 224 of 256 px": augmentations.cnndetection(),
        "as_files_are(), 128 px": as_files(),
    }.items():
        config = config_lib.base()
        config.steps, config.batch_size, config.data.augment, config.data.threads = 1, BATCH, augment, 1
        if not augment.after_resize:
            config.data.resize, config.data.crop = 0, 128
        configs[name] = config
    return configs


def as_files() -> ConfigDict:
    augment = augmentations.as_files_are()
    augment.webp.p = 0.0
    return augment


COLUMNS = ("crop and flip", "host degrades", "for the device", "step", "step that degrades", "degradation alone")


def row(source: Source, name: str, config: ConfigDict, args: argparse.Namespace) -> list[object]:
    plain, on_device = (config.copy_and_resolve_references() for _ in range(2))
    plain.data.augment, on_device.data.augment_on = augmentations.none(), "device"
    calls: dict[str, Callable[[int], object]] = {}
    for column, variant in zip(COLUMNS[:3], (plain, config, on_device), strict=True):
        pipeline = TrainPipeline(source, variant.data, seed=0)
        calls[column] = lambda turn, pipeline=pipeline: [pipeline[turn * BATCH + place] for place in range(BATCH)]
    batches = [next(TrainPipeline(source, variant.data, seed=0).batches(0, 1, BATCH)) for variant in (plain, on_device)]
    calls |= {
        column: step(variant, batch) for column, variant, batch in zip(COLUMNS[3:5], (plain, on_device), batches, strict=True)
    }
    degrade = jax.jit(degradation_of(on_device.data))
    calls[COLUMNS[5]] = lambda _: degrade(batches[1]["image"], batches[1]["draws"]).block_until_ready()
    spent: dict[str, list[float]] = {column: [] for column in COLUMNS}
    for turn in range(1 + args.rounds):
        for column, call in calls.items():
            start = time.process_time()
            for number in range(args.batches if column in COLUMNS[:3] else 1):
                call(turn * args.batches + number)
            count = BATCH * (args.batches if column in COLUMNS[:3] else 1)
            spent[column] += [1e3 * (time.process_time() - start) / count] if turn else []
    return [name, *(float(np.median(spent[column])) for column in COLUMNS)]


def step(config: ConfigDict, batch: dict[str, np.ndarray]) -> Callable[[int], object]:
    model = models.build(config.model)
    tx, _ = optim.build(config.optim, steps=1000, steps_per_epoch=100.0, batch_size=BATCH)
    state = fresh_state(config, model, tx)
    everywhere = sharding.replicated(sharding.data_mesh())
    state = sharding.place(state, jax.tree.map(lambda _: everywhere, state))
    step_fn = compiled_step(config, model, tx, state)

    def call(_: int) -> float:
        nonlocal state
        state, metrics = step_fn(state, batch, frozen=False)
        return float(metrics["loss"])

    return call


if __name__ == "__main__":
    main()
