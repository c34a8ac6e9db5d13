"""What checkpointing costs: steps a second with a checkpoint every few steps and with none, in turns, in one process.

python benchmarks/checkpointing.py [--every 10] [--steps 40] [--rounds 3]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax.checkpoint import Checkpoints
from lfm_jax.run import set_up, starting_state
from lfm_jax.train import compiled_step, train_batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=10, help="steps from one checkpoint to the next")
    parser.add_argument("--steps", type=int, default=40, help="steps of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    config = config_lib.base()
    config.steps, config.batch_size = args.steps * (2 * args.rounds + 1), 8
    config.data.source, config.data.resize, config.data.crop = "synthetic", 0, 64
    config.data.synthetic.train = 64
    with tempfile.TemporaryDirectory() as folder:
        run = set_up(config, Path(folder))
        with Checkpoints(run.workdir, keep=2) as checkpoints:
            state = starting_state(run, checkpoints)
            step_fn = compiled_step(config, run.model, run.tx, state)
            batches = train_batches(run, 0)
            step, rates = 0, {"none": [], f"every {args.every} steps": []}
            for round_ in range(args.rounds + 1):
                for name, found in rates.items():
                    if round_ == 0 and name != "none":
                        continue  # the first round compiles
                    start = time.perf_counter()
                    for _ in range(args.steps):
                        state, _ = step_fn(state, next(batches), frozen=False)
                        step += 1
                        if name != "none" and step % args.every == 0:
                            checkpoints.save_last(step, state, run.card(step), config.to_dict())
                    jax.block_until_ready(state)
                    checkpoints.wait()
                    if round_:
                        found.append(args.steps / (time.perf_counter() - start))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    rows = [[name, medians[name], min(found), max(found), medians[name] / medians["none"]] for name, found in rates.items()]
    print(f"\n{jax.device_count()} {jax.devices()[0].device_kind} device(s), LFM, batch 8 of 64 px, {args.rounds} rounds")
    print(tabulate(rows, ["checkpoints", "steps/s, median", "min", "max", "ratio"], tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
