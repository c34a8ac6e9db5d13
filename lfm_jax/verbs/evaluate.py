"""`lfm evaluate`: metrics of every generator in labelled folders, for one or more sets of weights."""

import argparse
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from lfm_jax.verbs.arguments import (
    PROTOCOL_HELP,
    SOME_FAILED,
    add_cluster_arguments,
    add_data_arguments,
    add_dtype_argument,
    add_speed_arguments,
    add_truncated_argument,
    add_weights_argument,
    join_cluster,
    make_folder,
    open_data,
    refuse,
    report_failures,
    require_stdout,
    whole,
)

if TYPE_CHECKING:
    from lfm_jax.data.sources.base import Source
    from lfm_jax.inference.detector import Detector

SUMMARY = "measure accuracy and AP on labelled folders"
EXAMPLES = (
    "lfm evaluate --data=builtin --out=results",
    "lfm evaluate --data=DATA --protocol=crop256 --views=as_is,fakes_q96,all_q96 --out=results",
)


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_weights_argument(verb, more="; repeat for several seeds", action="append")
    add_data_arguments(verb, metavar="ROOT", what="[SUITE/]GENERATOR[/CLASS]/{0_real,1_fake}/, prepared data, or builtin")
    verb.add_argument("--protocol", default="resize256", metavar="P[,P...]", help=f"default resize256; {PROTOCOL_HELP}")
    verb.add_argument("--views", default="as_is", metavar="V[,V...]", help="default as_is; fakes_q96, all_q96, all_blur2, ...")
    verb.add_argument(
        "--robustness", choices=("none", "grid"), default="none", metavar="grid", help="also score all views of the robustness grid"
    )
    keep_help = "MiB of decoded images to keep for the next view, default 1024"
    verb.add_argument("--keep_mib", type=whole, default=1024, metavar="N", help=keep_help)
    verb.add_argument("--out", metavar="DIR", help="folder for report.html, results.json, ...; run again to resume")
    add_truncated_argument(verb)
    add_dtype_argument(verb)
    add_speed_arguments(verb)
    add_cluster_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.data import images, protocols
    from lfm_jax.data.cache import KeptSource
    from lfm_jax.data.sources.open import open_tests
    from lfm_jax.evaluation.cells import CellStore, data_hash
    from lfm_jax.evaluation.evaluate import evaluate_network, join_evaluations
    from lfm_jax.evaluation.tables import swapped_labels
    from lfm_jax.inference.answers import terminal_width
    from lfm_jax.inference.detector import load
    from lfm_jax.report.files import write_files
    from lfm_jax.runtime import distributed
    from lfm_jax.runtime.exchange import agreed, others_waiting
    from lfm_jax.runtime.progress import say

    options = {
        "protocols": [protocols.parse(name).name for name in args.protocol.split(",")],
        "views": view_names(args.views, grid=args.robustness == "grid"),
        "batch_size": args.batch_size,
        "threads": args.threads,
    }
    if not args.out:
        require_stdout()
    images.take_truncated(args.truncated == "score")
    join_cluster(args)
    source = open_data(args, open_tests)
    detectors = [load(path, compute_dtype=args.compute_dtype) for path in args.weights or [None]]
    _require_agreement(args, options, source, detectors)
    if len(options["protocols"]) * len(options["views"]) * len(detectors) > 1:
        source = KeptSource(source, limit=args.keep_mib << 20)
    out = make_folder(args.out) if args.out else None
    cells = None
    if out:
        out.pull("cells")
        data_sha256 = data_hash(source, threads=args.threads)
        cells = CellStore(out.folder / "cells", data_sha256, compute_dtype=args.compute_dtype)
    with out or nullcontext():
        evaluation = join_evaluations([evaluate_network(detector, source, cells=cells, **options) for detector in detectors])
    failed = agreed(bool(evaluation.errors))
    with others_waiting(), out or nullcontext():
        if out and cells and distributed.is_main():
            write_files(evaluation, detectors, source, out.folder, data_sha256=cells.data_sha256)
    if not distributed.is_main():
        return SOME_FAILED if failed else 0
    print(evaluation.table(terminal_width(sys.stdout)))
    if args.out:
        say(f"lfm evaluate: report: {args.out.rstrip('/')}/report.html")
    if cut := {record["path"] for record in evaluation.truncated}:
        say(f"lfm evaluate: {len(cut)} of the images are cut, and were scored with what is missing in grey or black")
    for remark in swapped_labels(evaluation.rows):
        say(f"lfm evaluate: {remark}")
    for detector in detectors:
        for caveat in detector.card.caveats(options["protocols"]):
            say(f"lfm evaluate: {detector.card.weights_sha256[:12]}: {caveat}")
    return report_failures(evaluation.errors)


def _require_agreement(args: argparse.Namespace, options: dict[str, Any], source: "Source", detectors: "list[Detector]") -> None:
    """Ends all processes if one of them would score something else: their results would be put together all the same."""
    from importlib.metadata import version

    from lfm_jax.data.sources.base import listing_of
    from lfm_jax.runtime import distributed

    facts = {"--protocol": options["protocols"], "--views": options["views"]}
    facts |= {f"--{name}": getattr(args, name) for name in ("out", "truncated", "compute_dtype")}
    facts |= {"weights": [detector.card.weights_sha256 for detector in detectors]}
    facts |= {name: version(name) for name in ("lfm_jax", "jax", "pillow")}
    facts |= {"number of images": len(source.examples), "images": listing_of(source)}
    distributed.require_agreement(facts, "what they are to evaluate")


def view_names(chosen: str, *, grid: bool) -> list[str]:
    """Names of the views in --views and, if asked for, of the robustness grid, without repetition."""
    from lfm_jax.data import views

    names = chosen.split(",") + [name for curve in views.GRID.values() for name in curve if grid]
    return list(dict.fromkeys(views.parse(name).name for name in names))
