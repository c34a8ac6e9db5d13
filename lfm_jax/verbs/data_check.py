"""`lfm data check`: labelled folders -> are they whole, free of leaks, and does their format give the label away?"""

import argparse
import sys
from pathlib import Path

from lfm_jax.verbs.arguments import SOME_FAILED, make_folder, positive, refuse

SUMMARY = "what is in labelled folders, and what is wrong with it"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("root", metavar="ROOT", help="[SPLIT/][SUITE/]GENERATOR[/CLASS]/{0_real,1_fake}/ folders")
    verb.add_argument("--out", metavar="DIR", help="for check.json, check.md and format.png")
    verb.add_argument("--threads", type=positive, default=8, metavar="N", help="that read and decode, default 8")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.data.audit.check import check_folder
    from lfm_jax.data.audit.report import report_text, write_report
    from lfm_jax.evaluation import plots

    if args.out:
        make_folder(args.out)
    report = check_folder(args.root, threads=args.threads)
    if args.out:
        write_report(report, Path(args.out))
        plots.formats(report["format"], Path(args.out) / "format.png")
    print(report_text(report))
    if report["clean"]:
        return 0
    where = f"{args.out}/check.json names" if args.out else "--out=DIR gets"
    print(f"\nlfm data check: {len(report['problems'])} problems; {where} them all", file=sys.stderr)
    return SOME_FAILED
