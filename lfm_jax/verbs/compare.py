"""`lfm compare`: two evaluations of the same images -> their difference, and how sure it is."""

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path

from lfm_jax.verbs.arguments import open_out, refuse

SUMMARY = "difference of two evaluations of the same images"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("a", metavar="DIR_A", help="output folder of lfm evaluate, of one set of weights")
    verb.add_argument("b", metavar="DIR_B", help="another one, of the same images; the difference is B - A")
    metrics = "shown in the table, default acc,ap; lower is better for eer, brier, ece and loss"
    verb.add_argument("--metric", default="acc,ap", metavar="M[,M...]", help=metrics)
    verb.add_argument("--json", action="store_true", help="all metrics of all rows, not a table")
    verb.add_argument("--out", metavar="FILE", help="write there, not to the terminal")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.evaluation.compare import as_json, compare_evaluations, markdown
    from lfm_jax.evaluation.metrics import METRICS
    from lfm_jax.evaluation.saved import read_evaluation

    metrics = args.metric.split(",")
    for name in metrics:
        METRICS.choose(name)
    comparison = compare_evaluations(*(read_evaluation(Path(folder)) for folder in (args.a, args.b)))
    text = json.dumps(as_json(comparison), indent=1) if args.json else markdown(comparison, metrics)
    with open_out(args.out) if args.out else nullcontext(sys.stdout) as out:
        print(text, file=out)
    return 0
