"""`lfm calibrate`: fit a temperature and a threshold on validation images and store them with the weights."""

import argparse
import json
from pathlib import Path

from lfm_jax.errors import DataError
from lfm_jax.verbs.arguments import (
    PROTOCOL_HELP,
    add_data_arguments,
    add_speed_arguments,
    add_weights_argument,
    open_data,
    open_out,
    refuse,
    report_failures,
)

SUMMARY = "fit a threshold, and measure where weights are blind"
EXAMPLES = (
    "lfm calibrate --data=VAL --out=calibrated.safetensors --objective=fpr=0.01",
    "lfm calibrate --range --data=VAL --protocol=tiles256 --out=range.json",
)


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_weights_argument(verb)
    what = "[GENERATOR/]{0_real,1_fake}/ folders, or prepared data, of which the val split is used"
    add_data_arguments(verb, metavar="VAL", what=what)
    verb.add_argument(
        "--out",
        required=True,
        metavar="W2",
        help=".pth, .safetensors, or no suffix for a checkpoint directory; with --range also .json, for the range alone",
    )
    verb.add_argument("--protocol", metavar="P", help=f"default the weights' own; {PROTOCOL_HELP}")
    verb.add_argument("--view", default="as_is", metavar="V", help="default as_is; fakes_q96, all_q96, all_blur2, ...")
    objectives = "accuracy (default), balanced, or fpr=F for at most that share of false alarms"
    verb.add_argument("--objective", default="accuracy", metavar="O", help=objectives)
    range_help = "leave temperature and threshold as they are, and measure only in which files these weights find fakes"
    verb.add_argument("--range", action="store_true", help=range_help)
    verb.add_argument("--force", action="store_true", help="accept test data, and mark the weights as calibrated by an oracle")
    add_speed_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    import jax
    import numpy as np

    from lfm_jax.data import protocols, views
    from lfm_jax.data.sources.open import open_validation
    from lfm_jax.evaluation.calibrate import calibrate_network, calibration_table, range_table
    from lfm_jax.evaluation.cells import data_hash
    from lfm_jax.evaluation.fitting import false_alarm_limit
    from lfm_jax.evaluation.leaks import known_from_tests, leak
    from lfm_jax.inference.detector import load
    from lfm_jax.runtime.paths import expanded
    from lfm_jax.runtime.progress import say
    from lfm_jax.weights import io as weights_io

    false_alarm_limit(args.objective)
    view = views.parse(args.view).name
    detector, source = load(args.weights), open_data(args, open_validation)
    protocol = protocols.parse(args.protocol or detector.card.protocol).name
    range_alone = args.range and Path(args.out).suffix == ".json"
    if not range_alone:
        weights_io.check_target(args.out, detector.card)
    data_sha256 = data_hash(source, threads=args.threads)
    oracle = leak(source) or (args.weights and known_from_tests(expanded(args.weights), data_sha256))
    if oracle and not args.force:
        raise DataError(
            f"{oracle}: results on images that the threshold was fitted to look better than they are. Give validation images, "
            "or use --force to accept these and mark the weights as an oracle's"
        )
    options = {"view": view, "objective": args.objective, "batch_size": args.batch_size, "threads": args.threads}
    options |= {"oracle": oracle, "data_sha256": data_sha256, "only_range": args.range}
    card, failed = calibrate_network(detector, source, protocol=protocol, **options)
    if range_alone:
        with open_out(args.out, inputs=[args.weights]) as out:
            json.dump({card.weights_sha256: card.operating_range}, out, indent=1)
    else:
        weights_io.save(args.out, weights_io.Weights(jax.tree.map(np.asarray, detector.variables), card))
    if not args.range:
        print(f"{calibration_table(detector.card, card)}\n")
    what = "the operating range of weights" if range_alone else "weights"
    measured = "" if range_alone else f" with this {'' if args.range else 'temperature, threshold and '}operating range"
    print(f"{range_table(card, protocol)}\n\n{args.out}: {what} {card.weights_sha256[:12]}{measured}{' (oracle)' * bool(oracle)}")
    for remark in [] if args.range else card.calibration["remarks"]:
        say(f"lfm calibrate: {remark}")
    return report_failures(failed)
