"""`lfm export`: write weights as a file that runs without this package, checked before it appears."""

import argparse

from lfm_jax.verbs.arguments import WEIGHTS_HELP, positive, refuse

SUMMARY = "write a checked file that runs without lfm_jax"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--weights", required=True, metavar="W", help=WEIGHTS_HELP)
    formats = ("onnx", "stablehlo", "safetensors", "torch")
    verb.add_argument("--format", required=True, choices=formats, metavar="F", help=f"one of {', '.join(formats)}")
    verb.add_argument(
        "--side", type=positive, default=0, metavar="PX", help="for onnx and stablehlo: fix the size to PX x PX; default any size"
    )
    verb.add_argument(
        "target", metavar="DST", help="file to write, with the suffix of the format: .onnx, .stablehlo, .safetensors or .pth"
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.export import export
    from lfm_jax.weights import io as weights_io

    weights = weights_io.load(args.weights)
    files, parity = export(weights, args.target, format=args.format, side=args.side)
    name, *companions = files
    print(f"{args.target}: weights {weights.card.weights_sha256[:12]} from {args.weights}, {files[name] / 1e6:.1f} MB")
    if companions:
        print(f"next to it: {', '.join(companions)}")
    print(f"compared with lfm predict on {parity.images} images: logits differ by at most {parity.largest:.1e}")
    return 0
