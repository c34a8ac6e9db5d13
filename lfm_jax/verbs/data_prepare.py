"""`lfm data prepare`: folders of images -> ArrayRecord data sets for `--config.data.source=tfds`."""

import argparse
import sys
from pathlib import Path

from lfm_jax.verbs.arguments import SOME_FAILED, positive, refuse

SUMMARY = "verify images and pack them into ArrayRecord data sets"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("root", metavar="ROOT", help="suites side by side, one suite, train/ val/ test/, or plain 0_real/ 1_fake/")
    verb.add_argument("out", metavar="OUT", help="folder for the data sets; run again to go on after an interruption")
    verb.add_argument("--suite", default="", metavar="NAME", help="only this one, e.g. gangen_detection; may be ROOT itself")
    verb.add_argument("--threads", type=positive, default=8, metavar="N", help="that decode images, default 8")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from tabulate import tabulate

    from lfm_jax.data.prepare.prepare import prepare_folder

    done = prepare_folder(Path(args.root), Path(args.out), suite=args.suite, threads=args.threads)
    lines, left_out = [], []
    for prepared in done:
        state = "prepared" if prepared.written else "there already, verified"
        for split, found in prepared.contents.items():
            labels = [facts.label for facts in found.facts]
            size = sum(facts.size for facts in found.facts) / 1e6
            lines.append([prepared.name, split, labels.count(0), labels.count(1), len(found.left_out), f"{size:.1f}", state])
            left_out += [f"  {prepared.name}/{split} {path}: {reason}" for path, reason in found.left_out]
    heads = ["data set", "split", "real", "fake", "left out", "MB", "state"]
    print(tabulate(lines, heads, tablefmt="github", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 4 + ["left"]))
    if left_out:
        print(f"\n{len(left_out)} left out (listed in {args.out}/left_out.tsv):", *left_out, sep="\n", file=sys.stderr)
    return SOME_FAILED if left_out else 0
