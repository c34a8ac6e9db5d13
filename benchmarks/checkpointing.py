"""What checkpointing costs: steps per second with a checkpoint every few steps and with none, in turns, in one process.

python benchmarks/checkpointing.py [--every 10] [--steps 40] [--rounds 3]
"""

import argparse
import tempfile
from pathlib import Path

import jax
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax.runtime.timing import in_turns
from lfm_jax.training.loop import train_batches
from lfm_jax.training.run import set_up, starting_state
from lfm_jax.training.step import compiled_step
from lfm_jax.weights.checkpoint import Checkpoints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=10, help="steps from one checkpoint to the next")
    parser.add_argument("--steps", type=int, default=40, help="steps of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    config = config_lib.base()
    config.steps, config.batch_size = 2 * args.steps * (args.rounds + 1), 8
    config.data.source, config.data.resize, config.data.crop = "synthetic", 0, 64
    config.data.synthetic.train = 64
    with tempfile.TemporaryDirectory() as folder:
        run = set_up(config, Path(folder))
        with Checkpoints(run.workdir, keep=2) as checkpoints:
            state = starting_state(run, checkpoints)
            step_fn = compiled_step(config, run.model, run.tx, state)
            batches = enumerate(train_batches(run, 0), start=1)

            def train(*, every: int) -> None:
                nonlocal state
                for _ in range(args.steps):
                    step, batch = next(batches)
                    state, _ = step_fn(state, batch, frozen=False)
                    if every and step % every == 0:
                        checkpoints.save_last(step, state, run.card(step), config.to_dict())
                jax.block_until_ready(state)
                checkpoints.wait()

            intervals = {"none": 0, f"every {args.every} steps": args.every}
            calls = {name: lambda _, every=every: train(every=every) for name, every in intervals.items()}
            timings = in_turns(calls, rounds=args.rounds, warm_up=1)  # the first round compiles
    rows = []
    for name, timing in timings.items():
        rates = [args.steps / seconds for seconds in timing.seconds]
        rows.append([name, args.steps / timing.median, min(rates), max(rates), timings["none"].median / timing.median])
    print(f"\n{jax.device_count()} {jax.devices()[0].device_kind} device(s), LFM, batch 8 of 64 px, {args.rounds} rounds")
    print(tabulate(rows, ["checkpoints", "steps/s, median", "min", "max", "ratio"], tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
