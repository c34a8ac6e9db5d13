"""`lfm calibrate`: fit a temperature and a threshold on validation images and store them with the weights."""

import argparse

from lfm_jax.errors import DataError
from lfm_jax.verbs.arguments import PROTOCOL_HELP, WEIGHTS_HELP, add_speed_arguments, refuse, report_failures

SUMMARY = "fit a temperature and a threshold on validation images"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--weights", required=True, metavar="W", help=WEIGHTS_HELP)
    verb.add_argument(
        "--data",
        required=True,
        metavar="VAL",
        help="[GENERATOR/]{0_real,1_fake}/ folders, or prepared data, of which the val split is used",
    )
    verb.add_argument("--out", required=True, metavar="W2", help=".pth, .safetensors, or no suffix for a checkpoint directory")
    verb.add_argument("--protocol", metavar="P", help=f"default the weights' own; {PROTOCOL_HELP}")
    verb.add_argument("--view", default="as_is", metavar="V", help="default as_is; fakes_q96, all_q96, all_blur2, ...")
    objectives = "accuracy (default), balanced, or fpr=F for at most that share of false alarms"
    verb.add_argument("--objective", default="accuracy", metavar="O", help=objectives)
    verb.add_argument("--force", action="store_true", help="accept test data, and mark the weights as calibrated by an oracle")
    add_speed_arguments(verb)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    import jax
    import numpy as np

    from lfm_jax.data import protocols, views
    from lfm_jax.data.sources.open import open_validation
    from lfm_jax.evaluation.calibrate import calibrate_network, calibration_table, false_alarm_limit
    from lfm_jax.evaluation.cells import data_hash
    from lfm_jax.evaluation.leaks import known_from_tests, leak
    from lfm_jax.inference.detector import load
    from lfm_jax.runtime.paths import expanded
    from lfm_jax.runtime.progress import say
    from lfm_jax.weights import io as weights_io

    false_alarm_limit(args.objective)
    view = views.parse(args.view).name
    detector, source = load(args.weights), open_validation(args.data)
    protocol = protocols.parse(args.protocol or detector.card.protocol).name
    weights_io.check_target(args.out, detector.card)
    data_sha256 = data_hash(source, threads=args.threads)
    oracle = leak(source) or known_from_tests(expanded(args.weights), data_sha256)
    if oracle and not args.force:
        raise DataError(
            f"{oracle}: results on images that the threshold was fitted to look better than they are. Give validation images, "
            "or use --force to accept these and mark the weights as an oracle's"
        )
    options = {"view": view, "objective": args.objective, "batch_size": args.batch_size, "threads": args.threads}
    card, failed = calibrate_network(detector, source, protocol=protocol, oracle=oracle, data_sha256=data_sha256, **options)
    weights_io.save(args.out, weights_io.Weights(jax.tree.map(np.asarray, detector.variables), card))
    print(calibration_table(detector.card, card))
    print(f"\n{args.out}: weights {card.weights_sha256[:12]} with this temperature and threshold{' (oracle)' if oracle else ''}")
    for remark in card.calibration["remarks"]:
        say(f"lfm calibrate: {remark}")
    return report_failures(failed)
