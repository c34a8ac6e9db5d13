"""`lfm compare`: the difference between two evaluations of the same images, with its uncertainty."""

import argparse
import json

from lfm_jax.verbs.arguments import refuse, results_to

SUMMARY = "compare two evaluations of the same images"
EXAMPLES = ("lfm compare results_a results_b", "lfm compare results_a results_b --metric=ap,auc --out=comparison.md")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("a", metavar="DIR_A", help="folder that lfm evaluate wrote for one set of weights")
    verb.add_argument("b", metavar="DIR_B", help="the same for another set and the same images; the difference is B - A")
    metric_help = "metrics of the table, default acc,ap; for eer, brier, ece and loss lower is better"
    verb.add_argument("--metric", default="acc,ap", metavar="M[,M...]", help=metric_help)
    verb.add_argument("--json", action="store_true", help="print all metrics of all rows as JSON, not a table")
    verb.add_argument("--out", metavar="FILE", help="write to this file, not to the terminal")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.evaluation.compare import as_json, compare_evaluations, markdown
    from lfm_jax.evaluation.metrics import METRICS
    from lfm_jax.evaluation.saved import read_evaluation
    from lfm_jax.runtime.paths import expanded

    metrics = args.metric.split(",")
    for name in metrics:
        METRICS.choose(name)
    folders = [expanded(folder) for folder in (args.a, args.b)]
    comparison = compare_evaluations(*map(read_evaluation, folders))
    text = json.dumps(as_json(comparison), indent=1) if args.json else markdown(comparison, metrics)
    inputs = [folder / name for folder in folders for name in ("predictions.tsv", "results.json")]
    with results_to(args.out, inputs=inputs) as out:
        print(text, file=out)
    return 0
