"""`lfm sweep`: a sweep file and a folder -> its runs, trained and tested, in one table."""

import argparse
from pathlib import Path

from lfm_jax.errors import UserError
from lfm_jax.verbs.arguments import SOME_FAILED, add_config_arguments, load_config, whole

SUMMARY = "train variants of a config with seeds into one table"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_config_arguments(verb)
    verb.add_argument("--out", required=True, metavar="DIR", help="a workdir for each run, table.md, table.csv, ...; resumes there")
    which = verb.add_mutually_exclusive_group()
    which.add_argument("--only", metavar="NAME", help="this run alone, e.g. mean-seed0, and no table")
    which.add_argument("--index", type=whole, metavar="I", help="the same by number from 0, for job arrays")
    which.add_argument("--collect", action="store_true", help="no run: the table of what is finished")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    config = load_config(args.parser, args.config, rest)
    from lfm_jax.training import sweep as sweep_lib
    from lfm_jax.training import sweep_results
    from lfm_jax.verbs.train import leave_errors_of_writing_to_us

    if "://" in args.out:
        raise UserError(f"--out={args.out}: expected a folder of this machine")
    out = Path(args.out).expanduser()
    sweep = sweep_lib.load(args.config)
    runs = sweep_lib.plan(sweep, config, out)
    chosen = sweep_lib.choose(runs, only=args.only, index=args.index)
    if not args.collect:
        leave_errors_of_writing_to_us()
        failed = sweep_lib.run_all(chosen)
        if len(chosen) < len(runs) or len(failed) == len(runs):
            return SOME_FAILED if failed else 0
    results = sweep_results.collect(runs, sweep.base)
    sweep_results.write(results, out)
    print(sweep_results.markdown(results))
    return SOME_FAILED if results.missing else 0
