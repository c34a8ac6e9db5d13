"""`lfm convert`: write weights in another format."""

import argparse

from lfm_jax.verbs.arguments import WEIGHTS_HELP, refuse

SUMMARY = "convert weights between PyTorch, safetensors and checkpoints"
EXAMPLES = ("lfm convert lfm_bs_model.pth lfm.safetensors", "lfm convert runs/tiny tiny.pth")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("source", metavar="SRC", help=WEIGHTS_HELP)
    verb.add_argument("target", metavar="DST", help=".pth, .safetensors, or a name without suffix for a checkpoint directory")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.runtime.devices import devices
    from lfm_jax.weights.io import convert

    devices()  # orbax would fail for want of one in a traceback

    weights = convert(args.source, args.target)
    print(f"{args.target}: weights {weights.card.weights_sha256[:12]} from {args.source}")
    return 0
