"""`lfm train`: a config and a workdir -> a trained detector, tested."""

import argparse
import logging
import sys

from lfm_jax.verbs.arguments import add_cluster_arguments, add_config_arguments, join_cluster, load_config

SUMMARY = "train a detector, or resume its training, and test it"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_config_arguments(verb)
    verb.add_argument("--workdir", required=True, metavar="DIR", help="checkpoints, metrics and results; run again to resume")
    add_cluster_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    config = load_config(args.parser, args.config, rest)
    from lfm_jax.training.loop import train_and_evaluate

    leave_errors_of_writing_to_us()
    join_cluster(args)
    train_and_evaluate(config, args.workdir)
    return 0


def leave_errors_of_writing_to_us() -> None:
    """A checkpoint that cannot be written is told once, in one line; the writer's threads would add a thousand."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
