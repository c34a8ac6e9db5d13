"""`lfm train`: train a detector, or resume its training, and test it."""

import argparse
import logging
import sys

from lfm_jax.verbs.arguments import add_cluster_arguments, add_config_arguments, join_cluster, load_config

SUMMARY = "train a detector, or resume its training, and test it"
EXAMPLES = (
    "lfm train --config=tiny --workdir=runs/tiny",
    "lfm train --config=folder --config.data.root=DATA --workdir=runs/mine",
)


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_config_arguments(verb)
    verb.add_argument(
        "--workdir", required=True, metavar="DIR", help="folder for checkpoints, metrics and results; run again to resume"
    )
    add_cluster_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    config = load_config(args.parser, args.config, rest)
    from lfm_jax.training.loop import train_and_evaluate

    quiet_the_checkpoint_writer()
    join_cluster(args)
    train_and_evaluate(config, args.workdir)
    return 0


def quiet_the_checkpoint_writer() -> None:
    """Silence the logs of orbax's threads. A checkpoint that cannot be written is reported once, in one line, by us."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
