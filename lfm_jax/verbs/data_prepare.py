"""`lfm data prepare`: pack folders of images into ArrayRecord data sets, for `--config.data.source=tfds`."""

import argparse
import sys
from pathlib import Path

from lfm_jax.errors import UserError
from lfm_jax.verbs.arguments import SOME_FAILED, add_threads_argument, refuse
from lfm_jax.verbs.beam_arguments import add_beam_arguments, beam_of

SUMMARY = "verify images and pack them into ArrayRecord data sets"
EXAMPLES = ("lfm data prepare DATA prepared", "lfm data prepare DATA prepared --suite=gangen_detection --whole")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("root", metavar="ROOT", help="folder of suites, one suite, train/ val/ test/, or plain 0_real/ 1_fake/")
    verb.add_argument("out", metavar="OUT", help="folder for the data sets; run again to resume after an interruption")
    verb.add_argument(
        "--suite", default="", metavar="NAME", help="prepare only this suite, e.g. gangen_detection; ROOT may be the suite itself"
    )
    verb.add_argument("--whole", action="store_true", help="of data already there, read back every record, not a sample")
    verb.add_argument(
        "--pixels",
        type=int,
        default=0,
        metavar="SIDE",
        help="also store the training images resized to this side, for --config.data.pixels: training then decodes nothing",
    )
    add_beam_arguments(verb, same="the data sets are the same")
    add_threads_argument(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from tabulate import tabulate

    from lfm_jax.data.prepare.prepare import prepare_folder
    from lfm_jax.data.protocols import MAX_SIDE
    from lfm_jax.data.sources.pixels import SPLIT, store_pixels

    if not 0 <= args.pixels <= MAX_SIDE:
        raise UserError(f"--pixels={args.pixels}: expected a side of 1 to {MAX_SIDE} px, such as 256, or 0 for none")
    beam = beam_of(args)
    options = {"suite": args.suite, "threads": args.threads, "whole": args.whole, "beam": beam}
    rows, left_out, stored = [], [], []
    for prepared in prepare_folder(Path(args.root), Path(args.out), **options):
        if args.pixels and SPLIT in prepared.contents:
            file = store_pixels(prepared.folder, args.pixels, threads=args.threads)
            stored.append(f"{file}: {file.stat().st_size / 1e6:.1f} MB, train with --config.data.pixels={args.pixels}")
        state = "prepared" if prepared.written else "already there, verified"
        for split, contents in prepared.contents.items():
            labels = [facts.label for facts in contents.facts]
            size = sum(facts.size for facts in contents.facts) / 1e6
            rows.append([prepared.name, split, labels.count(0), labels.count(1), len(contents.left_out), f"{size:.1f}", state])
            left_out += [f"  {prepared.name}/{split} {path}: {reason}" for path, reason in contents.left_out]
    heads = ["data set", "split", "real", "fake", "left out", "MB", "state"]
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 4 + ["left"]))
    for line in stored:
        print(line)
    if left_out:
        print(f"\n{len(left_out)} left out (listed in {args.out}/left_out.tsv):", *left_out, sep="\n", file=sys.stderr)
    return SOME_FAILED if left_out else 0
