"""LFM, NPR and ResNet-50 at full size against the same networks in eager PyTorch: images per second, in turns, in one process.

python benchmarks/baselines.py [--batch 8] [--side 256] [--seconds 60]
"""

import argparse
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import torch
from tabulate import tabulate

from lfm_jax import models
from lfm_jax.bench import inference
from lfm_jax.bench.measuring import mismatch, random_images, time_in_turns
from lfm_jax.export.lfm_torch import from_state_dict, normalize
from lfm_jax.models import random_variables
from lfm_jax.weights.state_dict import to_state_dict

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
PRESETS = ("paper", "npr", "resnet50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=60, help="of timing in all")
    args = parser.parse_args()
    sys.path.insert(0, str(CONFIGS))  # presets build on each other

    images, scorers = random_images(args.batch, args.side), {}
    for preset in PRESETS:
        ours, eager = both(preset, args.batch, args.side)
        if reason := mismatch(eager(images[0]), ours(images[0]), "float32"):
            raise SystemExit(f"{preset}: PyTorch {reason}")
        scorers |= {(preset, "lfm_jax"): ours, (preset, "PyTorch eager"): eager}
    calls = {name: lambda round_, score=score: score(images[round_ % len(images)]) for name, score in scorers.items()}
    timings = time_in_turns(calls, seconds=args.seconds)
    rows = [
        [preset, library, args.batch / timing.median, 1e3 * timing.p95, timings[preset, "PyTorch eager"].median / timing.median]
        for (preset, library), timing in timings.items()
    ]
    rounds = len(next(iter(timings.values())).seconds)
    print(f"{jax.devices()[0].device_kind}, {torch.get_num_threads()} threads, float32, {args.side} px, {rounds} rounds in turns")
    print(tabulate(rows, ["network", "", "images/s", "p95 ms", "x eager"], tablefmt="github", floatfmt=".1f"))


def both(preset: str, batch: int, side: int) -> tuple[Callable[[np.ndarray], np.ndarray], ...]:
    """Our scorer and eager PyTorch's, of images uint8 [B, H, W, 3], with the same random weights."""
    config = runpy.run_path(str(CONFIGS / f"{preset}.py"))["get_config"]().model
    model = models.build(config)
    variables = random_variables(model)
    network = from_state_dict({key: torch.from_numpy(array) for key, array in to_state_dict(variables, model).items()})

    @torch.inference_mode()
    def eager(images: np.ndarray) -> np.ndarray:
        return network(normalize(torch.from_numpy(images))).numpy()

    return inference.jax_scorer(model, variables, batch, side)[0], eager


if __name__ == "__main__":
    main()
