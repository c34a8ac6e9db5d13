"""`lfm evaluate`: weights and labelled folders -> metrics of every generator."""

import argparse
from pathlib import Path

from lfm_jax.verbs.arguments import (
    PROTOCOL_HELP,
    SOME_FAILED,
    WEIGHTS_HELP,
    add_cluster_arguments,
    add_speed_arguments,
    join_cluster,
    make_folder,
    refuse,
    report_failures,
)

SUMMARY = "accuracy and AP on labelled folders"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--weights", required=True, metavar="W", help=WEIGHTS_HELP)
    verb.add_argument("--data", required=True, metavar="ROOT", help="[SUITE/]GENERATOR[/CLASS]/{0_real,1_fake}/ folders")
    verb.add_argument("--protocol", default="resize256", metavar="P[,P...]", help=f"default resize256; {PROTOCOL_HELP}")
    verb.add_argument("--out", metavar="DIR", help="for results.json, table.md, predictions.tsv and examples.png")
    add_speed_arguments(verb)
    add_cluster_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax import distributed, evaluate
    from lfm_jax.data import protocols
    from lfm_jax.data.sources import open_folder
    from lfm_jax.detector import load

    names = [protocols.parse(name).name for name in args.protocol.split(",")]
    join_cluster(args)
    source, detector = open_folder(args.data), load(args.weights)
    if args.out:
        make_folder(args.out)
    evaluation = evaluate.evaluate(detector, source, names, batch_size=args.batch_size, threads=args.threads)
    if not distributed.is_main():
        return SOME_FAILED if evaluation.errors else 0
    if args.out:
        evaluate.write(evaluation, detector, source, Path(args.out))
    print(evaluation.table())
    return report_failures(evaluation.errors)
