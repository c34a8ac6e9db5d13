"""Does a network trained with degradation on the device see files as well as one that was trained with degradation on the host?

    python -m benchmarks.degraded_training [--seeds 3] [--steps 300] [--out results.jsonl]

For each seed a small network is trained twice from the same start on the same built-in images in the same order, with the same
draws of scale, blur, noise and JPEG, applied once by Pillow, scipy and NumPy and once by `lfm_jax.ops.degradation`. Both are
then scored on images of generators that neither has seen: as they are, degraded on the host, which gives the pixels that reading
the saved JPEGs would, and degraded on the device. Each line of --out is one network; those that are there are not trained again,
so that several processes can share the work (--trained_on=host, --trained_on=device).
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax import models, presets
from lfm_jax.data import augmentations
from lfm_jax.data.on_device import DEVICE, HOST, degradation_of
from lfm_jax.data.pipeline import TrainPipeline, augmented
from lfm_jax.data.sources.base import Source
from lfm_jax.data.sources.drawn import SyntheticSource
from lfm_jax.data.sources.open import open_split
from lfm_jax.evaluation.metrics import detection_metrics
from lfm_jax.inference.network import Network
from lfm_jax.runtime import sharding
from lfm_jax.runtime.rng import Stream, host_rng
from lfm_jax.training import optim
from lfm_jax.training.run import fresh_state
from lfm_jax.training.step import compiled_step
from lfm_jax.weights.card import Card

SEED_OF_TEST = 1_000_000  # of the draws of the images that are scored: none that a training uses
AT_ONCE = 64  # images to score
Images = Mapping[str, np.ndarray]  # by how they were degraded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--test", type=int, default=512, help="images to score")
    parser.add_argument("--trained_on", choices=(HOST, DEVICE), action="append", help="train only these; otherwise both")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    config = settings(args.steps)
    source = open_split(config.data, "train", seed=0)
    images, labels = test_images(config, args.test)
    results = known(args.out)
    for where in args.trained_on or (HOST, DEVICE):
        config.data.augment_on = where
        train = trainer(config, source)
        for seed in range(args.seeds):
            if any((result["seed"], result["trained_on"]) == (seed, where) for result in results):
                continue
            network = train(seed)
            results.append({"seed": seed, "trained_on": where, **{name: ap(network, labels, images[name]) for name in images}})
            print(json.dumps(results[-1]), flush=True)
            if args.out:
                with open(args.out, "a") as file:
                    file.write(json.dumps(results[-1]) + "\n")
    columns = ["AP of images", "trained, degraded on the host", "on the device", "device - host"]
    print(tabulate(list(rows(known(args.out) or results, list(images))), columns, "github"))


def known(out: Path | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out and out.exists() else []


def settings(steps: int) -> ConfigDict:
    """The preset `tiny`, half as wide, on smaller crops and with degradation."""
    config = presets.load_config("tiny")
    config.steps, config.optim.warmup_steps = steps, min(config.optim.warmup_steps, steps // 10)
    config.model.widths = (8, 16, 16, 32)
    config.data.crop, config.data.synthetic.side, config.data.threads = 64, 96, 1
    config.data.augment = augment = augmentations.none()
    augment.after_resize, augment.untouched = False, 0.25
    augment.scale = ConfigDict({"p": 0.3, "factor": (0.7, 1.4)})
    augment.blur = ConfigDict({"p": 0.3, "sigma": (0.0, 0.8)})
    augment.noise = ConfigDict({"p": 0.3, "sigma": (0.0, 3.0)})
    augment.jpeg = ConfigDict({"p": 0.5, "quality": (75, 98)})
    config_lib.validate(config)
    return config


def test_images(config: ConfigDict, count: int) -> tuple[Images, np.ndarray]:
    """Crops uint8 [N, crop, crop, 3] of the built-in test images, by how they were degraded, and their labels."""
    source = SyntheticSource("test", size=count, side=config.data.synthetic.side, seed=0)
    plain, on_host, on_device = (config.data.copy_and_resolve_references() for _ in range(3))
    plain.augment, on_device.augment_on = augmentations.none(), DEVICE
    on_host.augment.untouched = on_device.augment.untouched = 0.0
    views = {
        "as they are": (plain, None),
        "degraded on the host": (on_host, None),
        "degraded on the device": (on_device, degradation_of(on_device)),
    }
    images = {}
    for name, (data, on) in views.items():
        rngs = (host_rng(SEED_OF_TEST, Stream.AUGMENT, index) for index in range(count))
        arrays = [augmented(source.image(index), data, [rng], on) for index, rng in enumerate(rngs)]
        pixels = np.stack([array["image"] for array in arrays])
        if on:
            draws, degrade = np.stack([array["draws"] for array in arrays]), jax.jit(on)
            pixels = np.concatenate([np.asarray(degrade(pixels[part], draws[part])) for part in parts(count)])
        images[name] = pixels
    return images, np.array([example.label for example in source.examples])


def trainer(config: ConfigDict, source: Source) -> Callable[[int], Network]:
    """A function that trains a network as `lfm train` does, without checkpoints and validation.

    Its seed is that of the first weights, the order of the images, and all that is drawn for them. Rank dropout draws the same
    for every seed, so that one program serves all.
    """
    model, steps_per_epoch = models.build(config.model), len(source.examples) / config.batch_size
    tx, _ = optim.build(config.optim, steps=config.steps, steps_per_epoch=steps_per_epoch, batch_size=config.batch_size)
    everywhere = sharding.replicated(sharding.data_mesh())
    shapes = jax.eval_shape(lambda: fresh_state(config, model, tx))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), shapes)
    step, data = compiled_step(config, model, tx, like), config.data.copy_and_resolve_references()

    def train(seed: int) -> Network:
        of_seed = config.copy_and_resolve_references()
        of_seed.seed = seed
        state = sharding.place(fresh_state(of_seed, model, tx), jax.tree.map(lambda leaf: leaf.sharding, like))
        for batch in TrainPipeline(source, data, seed=seed).batches(0, config.steps, config.batch_size):
            state, _ = step(state, batch, frozen=False)
        return Network(model, sharding.to_host(state.variables), Card(config.model.to_dict(), config.eval.predict_protocol))

    return train


def ap(network: Network, labels: np.ndarray, images: np.ndarray) -> float:
    """Average precision in per cent, over all images together."""
    logits = np.concatenate([network.logits(images[part]) for part in parts(len(images))])
    value = detection_metrics(labels.tolist(), logits.tolist())["ap"]
    assert value is not None
    return 100 * value


def parts(count: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE)]


def rows(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[list[str]]:
    """For each way to degrade what is scored: mean and standard deviation over the seeds, of both kinds and of their difference."""
    by_seed = {where: {each["seed"]: each for each in results if each["trained_on"] == where} for where in (HOST, DEVICE)}
    seeds = sorted(by_seed[HOST].keys() & by_seed[DEVICE].keys())
    for name in names if len(seeds) > 1 else ():
        host, device = (np.array([by_seed[where][seed][name] for seed in seeds]) for where in (HOST, DEVICE))
        yield [name, *(f"{values.mean():.1f} ± {values.std(ddof=1):.1f}" for values in (host, device, device - host))]


if __name__ == "__main__":
    main()
