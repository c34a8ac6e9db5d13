"""`lfm explain`: where in each image its logit came from, as numbers and as a picture."""

import argparse

from lfm_jax.verbs.arguments import PROTOCOL_HELP, add_weights_argument, make_folder, refuse, report_failures

SUMMARY = "show where in an image its score comes from"
EXAMPLES = ("lfm explain photo.png --out=why", "lfm explain photos/ --out=why --protocol=tiles256")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("paths", nargs="+", metavar="PATH", help="image, or folder to search for images")
    add_weights_argument(verb)
    verb.add_argument(
        "--out", required=True, metavar="DIR", help="folder for NAME.json and NAME.png of each image, and a contact sheet"
    )
    verb.add_argument("--protocol", metavar="P", help=f"default the weights' own, or crop256 if they name none; {PROTOCOL_HELP}")
    verb.add_argument("--entries", action="store_true", help="also write every pooled value, by map and rank, to the JSON")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.data import protocols
    from lfm_jax.inference.detector import load
    from lfm_jax.inference.explain_files import explain_files
    from lfm_jax.runtime.progress import say

    protocol = protocols.parse(args.protocol).name if args.protocol else None
    out = make_folder(args.out)
    detector = load(args.weights)
    protocol = protocol or detector.card.protocol
    for caveat in detector.card.caveats([protocol]):
        say(f"lfm explain: {caveat}")
    with out:
        failed = explain_files(detector, args.paths, out.folder, protocol=protocol, entries=args.entries)
    print(args.out)
    return report_failures(failed)
