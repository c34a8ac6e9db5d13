"""`lfm export`: write weights as a file that runs without this package, checked before it appears."""

import argparse

from lfm_jax.verbs.arguments import add_weights_argument, positive, refuse

SUMMARY = "write a checked file that runs without lfm_jax"
EXAMPLES = ("lfm export --format=onnx lfm.onnx", "lfm export --format=torch --weights=runs/tiny tiny.pth")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_weights_argument(verb)
    formats = ("onnx", "stablehlo", "safetensors", "torch", "hub")
    verb.add_argument("--format", required=True, choices=formats, metavar="F", help=f"one of {', '.join(formats)}")
    verb.add_argument(
        "--side", type=positive, default=0, metavar="PX", help="for onnx and stablehlo: fix the size to PX x PX; default any size"
    )
    target_help = "file to write, with the suffix of the format: .onnx, .stablehlo, .safetensors or .pth; for hub a folder"
    verb.add_argument("target", metavar="DST", help=target_help)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.errors import UserError
    from lfm_jax.export import export, export_hub
    from lfm_jax.weights import io as weights_io
    from lfm_jax.weights import named

    weights = weights_io.load(args.weights)
    if args.format == "hub" and args.side:
        raise UserError(f"--side={args.side}: hub holds weights, which take images of any size; leave it out")
    if args.format == "hub":
        files, parity = export_hub(weights, args.target)
    else:
        files, parity = export(weights, args.target, format=args.format, side=args.side)
    name, *companions = files
    source = args.weights or named.default_name()
    print(f"{args.target}: weights {weights.card.weights_sha256[:12]} from {source}, {files[name] / 1e6:.1f} MB")
    if companions:
        print(f"next to it: {', '.join(companions)}")
    print(f"compared with lfm predict on {parity.images} images: logits differ by at most {parity.largest:.1e}")
    return 0
