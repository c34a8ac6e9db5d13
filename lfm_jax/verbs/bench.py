"""`lfm bench`: measure speed on this machine, side by side with PyTorch where that is installed."""

import argparse
import json

from lfm_jax.verbs.arguments import DTYPES, WEIGHTS_HELP, positive, refuse

SUMMARY = "measure how fast images are scored, trained on and read here"
EXAMPLES = ("lfm bench", "lfm bench train --batch_size=16 --dtype=float32,bfloat16 --json")
KINDS = ("inference", "train", "input")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "kind", nargs="?", default="inference", choices=KINDS, metavar="WHAT", help="inference (default), train or input"
    )
    verb.add_argument("--weights", metavar="W", help=f"default random ones; {WEIGHTS_HELP}")
    verb.add_argument("--batch_size", type=_numbers, metavar="N[,N...]", help="default 1,8,32 for inference, 32 for the others")
    verb.add_argument("--dtype", type=_dtypes, default=["float32"], metavar="D[,D]", help="float32 (default), bfloat16, or both")
    verb.add_argument(
        "--side", type=positive, metavar="PX", help="side of the images, default 256 for inference, 224 for the others"
    )
    verb.add_argument("--data", metavar="ROOT", help="for input: has train/GROUP/{0_real,1_fake}/; default built-in images")
    verb.add_argument(
        "--seconds", type=positive, default=30, metavar="S", help="total time to measure for, without compiling; default 30"
    )
    verb.add_argument("--json", action="store_true", help="print JSON with a description of the machine, not a table")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.bench import benchmark

    measured = benchmark.run(
        args.kind,
        weights=args.weights,
        batches=args.batch_size or ([1, 8, 32] if args.kind == "inference" else [32]),
        dtypes=args.dtype,
        side=args.side or (256 if args.kind == "inference" else 224),
        data=args.data,
        seconds=args.seconds,
    )
    print(json.dumps(measured.to_json(), indent=1) if args.json else measured.table())
    return 0


def _numbers(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def _dtypes(text: str) -> list[str]:
    dtypes = text.split(",")
    if not set(dtypes) <= set(DTYPES):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {' or '.join(DTYPES)}, or both separated by a comma")
    return dtypes
