"""`lfm predict`: score images, one by one or by the folder."""

import argparse
import dataclasses
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lfm_jax.errors import UserError
from lfm_jax.verbs.arguments import (
    FAULT,
    PROTOCOL_HELP,
    add_dtype_argument,
    add_speed_arguments,
    add_truncated_argument,
    add_weights_argument,
    positive,
    refuse,
    report_failures,
    results_to,
)

if TYPE_CHECKING:
    from lfm_jax.inference.detector import Detector
    from lfm_jax.inference.shards import Shard

SUMMARY = "look for traces of AI generators in images"
EXAMPLES = ("lfm predict photo.png", "lfm predict photos/ --sort=score --format=csv --out=answers.csv")
SORTS = ("given", "score")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    what = "image, folder of images, or archive of them (.tar, .tar.gz, .parquet)"
    verb.add_argument("paths", nargs="*", metavar="PATH", help=what)
    verb.add_argument("--list", metavar="FILE", help="also score what a file names, one PATH per line; - for standard input")
    add_weights_argument(verb)
    verb.add_argument("--protocol", metavar="P", help=f"default the weights' own, or crop256 if they name none; {PROTOCOL_HELP}")
    formats = ("table", "jsonl", "csv", "parquet")
    verb.add_argument("--format", default="table", choices=formats, metavar="F", help="table (default), jsonl, csv or parquet")
    verb.add_argument("--sort", default="given", choices=SORTS, metavar="S", help="given (default), or score: highest first")
    verb.add_argument(
        "--threshold", type=_share, metavar="X", help="score above which a trace counts as found, in place of the weights' own"
    )
    unsure = 'answer "cannot tell" to scores from LOW to HIGH, e.g. 0.3,0.7'
    verb.add_argument("--unsure", type=_shares, metavar="LOW,HIGH", help=unsure)
    verb.add_argument("--every", metavar="TIME", help="also score videos, a frame every TIME, e.g. 1s or 500ms")
    verb.add_argument("--out", metavar="FILE", help="write to this file; in parts, to this folder")
    shard_help = "score part I of N alone (I from 0): every N-th image or archive"
    parts = verb.add_mutually_exclusive_group()
    parts.add_argument(
        "--parts", type=positive, metavar="N", help="score in N parts, one after the other; those in --out are skipped"
    )
    parts.add_argument("--shard", type=_shard, metavar="I/N", help=shard_help)
    verb.add_argument("--engine", type=_actors, metavar="ray", help="hand the parts to Ray, ray:N to N of its actors")
    verb.add_argument("--collect", action="store_true", help="count what is in a folder of parts, given as PATH")
    add_truncated_argument(verb)
    add_dtype_argument(verb)
    add_speed_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.data import images, protocols
    from lfm_jax.data.listing import Passed, listed
    from lfm_jax.data.video import interval
    from lfm_jax.inference.detector import load
    from lfm_jax.inference.predict import predict_files
    from lfm_jax.inference.records import require_parquet, write_records
    from lfm_jax.runtime.progress import say
    from lfm_jax.weights import named

    if args.collect:
        return _collect(args)
    if args.list:
        args.paths += listed(args.list)
    if not args.paths:
        raise UserError("lfm predict takes the PATH of an image or folder, or --list=FILE")
    in_parts = args.shard or args.parts
    if in_parts:
        args.format = "jsonl" if args.format == "table" else args.format
        if not args.out or args.sort == "score":
            raise UserError("--shard and --parts take --out=DIR, a folder for all parts, and no --sort")
    if args.engine is not None and not args.parts:
        raise UserError("--engine=ray hands out parts: give --parts=N, several for each of its actors, and --out=DIR")
    if args.format == "parquet":
        require_parquet()
        if not args.out:
            raise UserError("--format=parquet: not for a terminal; give --out=FILE.parquet")
    every = interval(args.every) if args.every else None
    images.take_truncated(args.truncated == "score")
    detector = load(args.weights, compute_dtype=args.compute_dtype)
    if args.weights is None or named.find(args.weights):
        say(f"lfm predict: weights {named.describe(args.weights)}")
    if args.threshold is not None:
        detector.card = dataclasses.replace(detector.card, threshold=args.threshold)
    protocol = protocols.parse(args.protocol or detector.card.protocol).name
    for caveat in detector.card.caveats([protocol]):
        say(f"lfm predict: {caveat}")
    options = {"unsure": args.unsure, "every": every, "batch_size": args.batch_size, "threads": args.threads}
    if in_parts:
        return _score_parts(args, detector, {"protocol": protocol, **options})
    passed = Passed() if args.format == "table" else None
    records: Iterable[dict[str, Any]]
    records = predict_files(detector, args.paths, protocol=protocol, passed=passed, **options)
    if args.sort == "score":
        records = sorted(records, key=lambda record: -record.get("score", -1.0))
    with results_to(args.out, inputs=[*args.paths, *filter(None, [args.weights])]) as out:
        _, failed = write_records(records, args.format, out, passed=passed)
    return report_failures(failed)


def _score_parts(args: argparse.Namespace, detector: "Detector", options: dict[str, Any]) -> int:
    from lfm_jax.data.listing import listing_hash
    from lfm_jax.inference import shards
    from lfm_jax.inference.parts import Parts, in_this_process
    from lfm_jax.inference.predict import list_files
    from lfm_jax.inference.ray_engine import on_ray
    from lfm_jax.runtime.paths import expanded
    from lfm_jax.runtime.progress import say

    count = args.shard.count if args.shard else args.parts
    files = list_files(args.paths, videos=args.every is not None)
    parts = Parts(expanded(args.out), count, args.format, files, options)
    common = {"weights": detector.card.weights_sha256, "protocol": options["protocol"]}
    common |= {name: getattr(args, name) for name in ("format", "threshold", "unsure", "every", "truncated", "compute_dtype")}
    common |= {"shards": count, "images": len(files), "listing_sha256": listing_hash(files)}
    wanted = [args.shard.index] if args.shard else range(count)
    try:
        shards.agree(parts.folder, common)
        missing = parts.missing(wanted)
        if len(missing) < len(wanted):
            there = parts.file(args.shard.index) if args.shard else f"{count - len(missing)} of {count} parts"
            say(f"lfm predict: {there} {'is' if args.shard else 'are'} there already")
        if args.engine is None:
            scored = in_this_process(parts, detector, missing)
        else:
            scored = on_ray(parts, detector, missing, actors=args.engine, imports=args.imports)
        failed = list(itertools.chain.from_iterable(scored))
    except OSError as error:
        raise UserError(f"--out={args.out}: {error.strerror or error}") from None
    return report_failures(failed)


def _collect(args: argparse.Namespace) -> int:
    from lfm_jax.inference import shards
    from lfm_jax.runtime.paths import expanded

    if len(args.paths) != 1:
        raise UserError("--collect takes one folder of parts")
    totals = shards.collect(expanded(args.paths[0]))
    print(totals)
    return FAULT if totals.missing else 0


def _shard(text: str) -> "Shard":
    from lfm_jax.inference.shards import Shard

    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _actors(text: str) -> int:
    """How many actors of Ray, 0 to leave it to the cluster."""
    engine, colon, count = text.partition(":")
    if engine != "ray" or (colon and not count.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected ray, or ray:N with a number of actors")
    return int(count or 0)


def _share(text: str) -> float:
    try:
        if 0 < float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r}: expected a score above 0 and below 1")


def _shares(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
        if 0 <= low <= high <= 1:
            return low, high
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r}: expected two scores of 0 to 1, the lower first, e.g. 0.3,0.7")
