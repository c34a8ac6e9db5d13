"""A training step against PyTorch on the same cores: timed in turns in one process, then the peak memory of each in its own.

python benchmarks/training.py --weights=lfm_bs_model.pth [--batch 32] [--side 224] [--rounds 5]

Both train by the released recipe without regularisers (Adam, BatchNorm of the batch), from the same weights on the same images.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import optax
import torch
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.export.lfm_torch import TorchLfm, normalize
from lfm_jax.runtime import sharding
from lfm_jax.runtime.timing import in_turns
from lfm_jax.training.step import compiled_step, first_state
from lfm_jax.weights import io as weights_io

Step = Callable[[dict[str, np.ndarray]], float]


def torch_step(weights: str) -> Step:
    network = TorchLfm().train()
    network.load_state_dict(torch.load(weights, map_location="cpu"))
    trained = [parameter for name, parameter in network.named_parameters() if "sample" not in name]
    adam = torch.optim.Adam(trained, lr=1e-4)

    def step(batch: dict[str, np.ndarray]) -> float:
        adam.zero_grad(set_to_none=True)
        logits = network(normalize(torch.from_numpy(batch["image"])))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(batch["label"]))
        loss.backward()
        adam.step()
        return loss.item()

    return step


def jax_step(weights: str) -> Step:
    config = config_lib.base()
    config.model.rank_dropout.p_max = config.model.random_k.aux_weight = 0.0
    model, adam, variables = models.build(config.model), optax.adam(1e-4), weights_io.load(weights).variables
    state = first_state(config, adam, variables)
    everywhere = sharding.replicated(sharding.data_mesh())
    state = sharding.place(state, jax.tree.map(lambda _: everywhere, state))
    step_fn = compiled_step(config, model, adam, state)

    def step(batch: dict[str, np.ndarray]) -> float:
        nonlocal state
        state, metrics = step_fn(state, batch, frozen=False)
        return float(metrics["loss"])

    return step


def peak_memory() -> float:
    """Of this process so far, in MiB, on Linux. (getrusage would begin with the peak of the process that started this one.)"""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


STEPS = {"PyTorch eager": torch_step, "lfm_jax": jax_step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="the released .pth")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", choices=STEPS, help="only take two steps and print the peak memory in MiB")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    shape, labels = (args.batch, args.side, args.side, 3), (np.arange(args.batch) % 2).astype(np.float32)
    batches = [{"image": rng.integers(0, 256, shape, dtype=np.uint8), "label": labels} for _ in range(args.rounds)]
    if args.memory_of:
        step = STEPS[args.memory_of](args.weights)
        before = peak_memory()
        for batch in batches[:2]:
            step(batch)
        print(peak_memory() - before)
        return

    steps = {name: make_step(args.weights) for name, make_step in STEPS.items()}
    losses = {name: step(batches[0]) for name, step in steps.items()}
    np.testing.assert_allclose(losses["lfm_jax"], losses["PyTorch eager"], rtol=1e-4)
    timings = in_turns(
        {name: lambda round_, step=step: step(batches[round_]) for name, step in steps.items()}, rounds=args.rounds, warm_up=1
    )
    base = timings["PyTorch eager"].median
    rows = []
    for name, timing in timings.items():
        command = [sys.executable, "-m", "benchmarks.training", *sys.argv[1:], f"--memory-of={name}"]
        memory = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append([name, timing.median, min(timing.seconds), args.batch / timing.median, base / timing.median, memory])
    print(f"\n{jax.devices()[0].device_kind}, {torch.get_num_threads()} threads, float32, batch {args.batch} at {args.side} px")
    header = ["", "s per step, median", "min", "images/s", "x eager", "peak above start, MiB"]
    print(tabulate(rows, header, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
