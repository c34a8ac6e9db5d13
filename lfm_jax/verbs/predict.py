"""`lfm predict`: weights and images -> a score each."""

import argparse
import sys
from contextlib import nullcontext
from typing import TextIO

from lfm_jax.errors import UserError
from lfm_jax.verbs.arguments import PROTOCOL_HELP, WEIGHTS_HELP, add_speed_arguments, refuse, report_failures

SUMMARY = "score images: real or AI-generated"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("paths", nargs="+", metavar="PATH", help="image, or folder to search through")
    verb.add_argument("--weights", required=True, metavar="W", help=WEIGHTS_HELP)
    verb.add_argument("--protocol", metavar="P", help=f"default: the weights' own, crop256 if they name none; {PROTOCOL_HELP}")
    verb.add_argument("--format", default="table", choices=("table", "jsonl", "csv"), help="default table")
    verb.add_argument("--out", metavar="FILE", help="write there, not to the terminal")
    add_speed_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax import predict
    from lfm_jax.data import protocols
    from lfm_jax.detector import load

    detector = load(args.weights)
    protocol = protocols.parse(args.protocol or detector.card.protocol).name
    records = predict.predict(detector, args.paths, protocol=protocol, batch_size=args.batch_size, threads=args.threads)
    with open_out(args.out) if args.out else nullcontext(sys.stdout) as out:
        _, failed = predict.write(records, args.format, out)
    return report_failures(failed)


def open_out(path: str) -> TextIO:
    """File to write, names of any encoding included. Raises UserError."""
    try:
        return open(path, "w", newline="", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"--out={path}: {error.strerror}") from None
