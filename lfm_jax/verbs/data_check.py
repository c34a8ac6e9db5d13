"""`lfm data check`: are labelled folders complete and free of leaks, and does the file format give the label away?"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lfm_jax.errors import UserError
from lfm_jax.verbs.arguments import SOME_FAILED, add_labels_argument, add_threads_argument, make_folder, refuse
from lfm_jax.verbs.beam_arguments import add_beam_arguments, beam_of

SUMMARY = "list what labelled folders hold and what is wrong with them"
EXAMPLES = ("lfm data check DATA", "lfm data check DATA --labels=real:nature,fake:ai --out=check")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    layout = "[SPLIT/][SUITE/]GENERATOR[/CLASS]/{0_real,1_fake}/ folders, or prepared data, whose records are all read back"
    verb.add_argument("root", metavar="ROOT", help=layout)
    verb.add_argument("--out", metavar="DIR", help="folder for check.json, check.md and format.png")
    add_labels_argument(verb)
    add_beam_arguments(verb, same="the report is the same; needs --out")
    add_threads_argument(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.data.audit.check import check_folder
    from lfm_jax.data.audit.prepared import check_prepared
    from lfm_jax.data.audit.report import report_text, write_report
    from lfm_jax.data.sources.base import parse_labels
    from lfm_jax.data.sources.records import find_prepared
    from lfm_jax.evaluation import plots
    from lfm_jax.runtime.storage import is_remote

    beam = beam_of(args)
    if beam and (not args.out or is_remote(args.out)):
        raise UserError(f"--engine=beam with --out={args.out or ''}: give a folder that its workers see too, and no bucket")
    out = make_folder(args.out) if args.out else None
    labels = parse_labels(args.labels)
    with emptied(out.folder / ".check") if beam and out else nullcontext() as shared:
        if find_prepared(args.root):
            report = check_prepared(args.root, threads=args.threads, beam=beam, shared=shared)
        else:
            report = check_folder(args.root, threads=args.threads, labels=labels, beam=beam, shared=shared)
    if out:
        with out:
            write_report(report, out.folder)
            if report["format"]:
                plots.formats(report["format"], out.folder / "format.png")
    print(report_text(report))
    if report["clean"]:
        return 0
    where = f"{args.out}/check.json lists" if args.out else "--out=DIR writes"
    print(f"\nlfm data check: {len(report['problems'])} problems; {where} them all", file=sys.stderr)
    return SOME_FAILED


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """An empty folder, which is removed afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder.absolute()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
