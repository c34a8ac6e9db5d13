"""`lfm sweep`: train and test the variants of a config, with several seeds, and put them into one table."""

import argparse

from lfm_jax.errors import UserError
from lfm_jax.verbs.arguments import SOME_FAILED, add_config_arguments, load_config, whole

SUMMARY = "train variants of a config with several seeds, for one table"
EXAMPLES = ("lfm sweep --config=ablations/k --out=runs/k", "lfm sweep --config=ablations/k --out=runs/k --only=k16-seed0")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_config_arguments(verb)
    verb.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the runs, table.md, table.csv, ...; run again to resume"
    )
    which = verb.add_mutually_exclusive_group()
    which.add_argument("--only", metavar="NAME", help="only this run, e.g. mean-seed0, and no table")
    which.add_argument("--index", type=whole, metavar="I", help="the same by its number from 0, for job arrays")
    which.add_argument("--collect", action="store_true", help="run nothing; make the table of what is finished")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    config = load_config(args.parser, args.config, rest)
    from lfm_jax.runtime.paths import expanded
    from lfm_jax.training import sweep as sweep_lib
    from lfm_jax.training import sweep_results
    from lfm_jax.verbs.train import quiet_the_checkpoint_writer

    if "://" in args.out:
        raise UserError(f"--out={args.out}: expected a folder on this machine")
    out = expanded(args.out)
    sweep = sweep_lib.load(args.config)
    runs = sweep_lib.plan(sweep, config, out)
    chosen = sweep_lib.choose(runs, only=args.only, index=args.index)
    if not args.collect:
        quiet_the_checkpoint_writer()
        failed = sweep_lib.run_all(chosen)
        if len(chosen) < len(runs) or len(failed) == len(runs):
            return SOME_FAILED if failed else 0
    results = sweep_results.collect(runs, sweep.base)
    sweep_results.write(results, out)
    print(sweep_results.markdown(results))
    return SOME_FAILED if results.missing else 0
