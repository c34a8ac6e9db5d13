"""`lfm predict`: score images, one by one or by the folder."""

import argparse

from lfm_jax.verbs.arguments import (
    PROTOCOL_HELP,
    WEIGHTS_HELP,
    add_speed_arguments,
    add_truncated_argument,
    refuse,
    report_failures,
    results_to,
)

SUMMARY = "score images: real or AI-generated"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("paths", nargs="+", metavar="PATH", help="image, or folder to search for images")
    verb.add_argument("--weights", required=True, metavar="W", help=WEIGHTS_HELP)
    verb.add_argument("--protocol", metavar="P", help=f"default the weights' own, or crop256 if they name none; {PROTOCOL_HELP}")
    formats = ("table", "jsonl", "csv")
    verb.add_argument("--format", default="table", choices=formats, metavar="F", help="table (default), jsonl or csv")
    verb.add_argument("--out", metavar="FILE", help="write to this file, not to the terminal")
    add_truncated_argument(verb)
    add_speed_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.data import images, protocols
    from lfm_jax.inference.detector import load
    from lfm_jax.inference.predict import predict_files
    from lfm_jax.inference.records import write_records
    from lfm_jax.runtime.progress import say

    images.take_truncated(args.truncated == "score")
    detector = load(args.weights)
    protocol = protocols.parse(args.protocol or detector.card.protocol).name
    for caveat in detector.card.caveats([protocol]):
        say(f"lfm predict: {caveat}")
    records = predict_files(detector, args.paths, protocol=protocol, batch_size=args.batch_size, threads=args.threads)
    with results_to(args.out, inputs=[*args.paths, args.weights]) as out:
        _, failed = write_records(records, args.format, out)
    return report_failures(failed)
