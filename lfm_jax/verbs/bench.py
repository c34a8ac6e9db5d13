"""`lfm bench`: how fast it is here, and PyTorch beside it."""

import argparse
import json

from lfm_jax.verbs.arguments import WEIGHTS_HELP, positive, refuse

SUMMARY = "how fast it scores, trains and reads images on this machine"
KINDS = ("inference", "train", "input")
DTYPES = ("float32", "bfloat16")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "kind", nargs="?", default="inference", choices=KINDS, metavar="WHAT", help="inference (default), train or input"
    )
    verb.add_argument("--weights", metavar="W", help=f"default: random ones; {WEIGHTS_HELP}")
    verb.add_argument("--batch_size", type=_numbers, metavar="N[,N...]", help="default 1,8,32 for inference, 32 else")
    verb.add_argument("--dtype", type=_dtypes, default=["float32"], metavar="D[,D]", help="float32 (default), bfloat16")
    verb.add_argument("--side", type=positive, metavar="PX", help="of the images, default 256 for inference, 224 else")
    verb.add_argument("--data", metavar="ROOT", help="input: folder with train/GROUP/{0_real,1_fake}/; default built-in images")
    verb.add_argument(
        "--seconds", type=positive, default=30, metavar="S", help="of timing in all, default 30; compiling comes on top"
    )
    verb.add_argument("--json", action="store_true", help="machine readable, with the machine's description")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.bench import benchmark

    found = benchmark.run(
        args.kind,
        weights=args.weights,
        batches=args.batch_size or ([1, 8, 32] if args.kind == "inference" else [32]),
        dtypes=args.dtype,
        side=args.side or (256 if args.kind == "inference" else 224),
        data=args.data,
        seconds=args.seconds,
    )
    print(json.dumps(found.to_json(), indent=1) if args.json else found.table())
    return 0


def _numbers(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def _dtypes(text: str) -> list[str]:
    found = text.split(",")
    if not set(found) <= set(DTYPES):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {' or '.join(DTYPES)}, or both with a comma")
    return found
