"""`lfm <verb>`: parses, calls one function, prints.

Exit status: 0 done; 3 some images could not be scored (they are named); 2 usage or input to mend; 1 a fault;
143 told to stop (SIGTERM), with a checkpoint saved.
"""

import argparse
import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from lfm_jax import __version__
from lfm_jax.arguments import (
    add_cluster_arguments,
    add_config_arguments,
    add_speed_arguments,
    join_cluster,
    load_config,
    nearest,
    refuse,
    unknown_options,
)
from lfm_jax.errors import CheckpointError, ClusterError, PreemptedError, UserError

FAULT, USAGE, SOME_FAILED = 1, 2, 3
INTERRUPTED, TERMINATED = 130, 143  # as a shell reports SIGINT and SIGTERM
WEIGHTS_HELP = ".pth, .safetensors, training workdir or checkpoint directory"
PROTOCOL_HELP = "native, resize256, crop224, crop256, crop224_pad, crop256_pad, resize256_crop224"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `lfm` command."""
    argv = sys.argv[1:] if argv is None else argv
    parser, verbs = build_parser()
    if argv and not argv[0].startswith("-") and argv[0] not in verbs:
        parser.error(f"unknown verb {argv[0]!r}{nearest(argv[0], verbs)}: expected one of {', '.join(verbs)}")
    verb = verbs.get(argv[0]) if argv else None
    refuse(verb or parser, unknown_options(verb or parser, argv))
    args, rest = parser.parse_known_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\b")  # its notes for programmers
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors="surrogateescape")  # file names of any encoding
            status = args.run(args, rest)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"lfm {args.verb}: {error}", file=sys.stderr)
        return USAGE
    except (FloatingPointError, ClusterError) as error:
        print(f"lfm {args.verb}: {error}", file=sys.stderr)
        return FAULT
    except CheckpointError as error:
        print(f"lfm {args.verb}: {error}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(FAULT)  # threads of the checkpoint writer would bury that line in complaints as Python ends
    except PreemptedError as stop:
        print(f"lfm {args.verb}: {stop}", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print(f"\nlfm {args.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `lfm predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"lfm {args.verb}: {error}", file=sys.stderr)
        return FAULT


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command, and those of its verbs."""
    parser = argparse.ArgumentParser(prog="lfm", description="Detect AI-generated images with LFM.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"lfm_jax {__version__}")
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (add_arguments, run, summary) in VERBS.items():
        verb = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False)
        add_arguments(verb)
        verb.set_defaults(run=run, parser=verb)
    return parser, commands.choices


def train_arguments(verb: argparse.ArgumentParser) -> None:
    add_config_arguments(verb)
    verb.add_argument("--workdir", required=True, metavar="DIR", help="checkpoints, metrics and results; run again to resume")
    add_cluster_arguments(verb)


def run_train(args: argparse.Namespace, rest: list[str]) -> int:
    config = load_config(args.parser, args.config, rest)
    from lfm_jax.train import train_and_evaluate

    leave_errors_of_writing_to_us()
    join_cluster(args)
    train_and_evaluate(config, args.workdir)
    return 0


def leave_errors_of_writing_to_us() -> None:
    """A checkpoint that cannot be written is told once, in one line; the writer's threads would add a thousand."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None


def evaluate_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--weights", required=True, metavar="W", help=WEIGHTS_HELP)
    verb.add_argument("--data", required=True, metavar="ROOT", help="[SUITE/]GENERATOR[/CLASS]/{0_real,1_fake}/ folders")
    verb.add_argument("--protocol", default="resize256", metavar="P[,P...]", help=f"default resize256; {PROTOCOL_HELP}")
    verb.add_argument("--out", metavar="DIR", help="for results.json, table.md, predictions.tsv and examples.png")
    add_speed_arguments(verb)
    add_cluster_arguments(verb)


def run_evaluate(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax import distributed, evaluate
    from lfm_jax.data import protocols
    from lfm_jax.data.sources import open_folder
    from lfm_jax.detector import load

    names = [protocols.parse(name).name for name in args.protocol.split(",")]
    join_cluster(args)
    source, detector = open_folder(args.data), load(args.weights)
    if args.out:
        make_folder(args.out)
    evaluation = evaluate.evaluate(detector, source, names, batch_size=args.batch_size, threads=args.threads)
    if not distributed.is_main():
        return SOME_FAILED if evaluation.errors else 0
    if args.out:
        evaluate.write(evaluation, detector, source, Path(args.out))
    print(evaluation.table())
    return report_failures(evaluation.errors)


def predict_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("paths", nargs="+", metavar="PATH", help="image, or folder to search through")
    verb.add_argument("--weights", required=True, metavar="W", help=WEIGHTS_HELP)
    verb.add_argument("--protocol", metavar="P", help=f"default: the weights' own, crop256 if they name none; {PROTOCOL_HELP}")
    verb.add_argument("--format", default="table", choices=("table", "jsonl", "csv"), help="default table")
    verb.add_argument("--out", metavar="FILE", help="write there, not to the terminal")
    add_speed_arguments(verb)


def run_predict(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax import predict
    from lfm_jax.data import protocols
    from lfm_jax.detector import load

    detector = load(args.weights)
    protocol = protocols.parse(args.protocol or detector.card.protocol).name
    records = predict.predict(detector, args.paths, protocol=protocol, batch_size=args.batch_size, threads=args.threads)
    with open_out(args.out) if args.out else nullcontext(sys.stdout) as out:
        _, failed = predict.write(records, args.format, out)
    return report_failures(failed)


def open_out(path: str) -> TextIO:
    """File to write, names of any encoding included. Raises UserError."""
    try:
        return open(path, "w", newline="", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"--out={path}: {error.strerror}") from None


def make_folder(path: str) -> None:
    """Before the work, so that nothing is scored for a folder that cannot be. Raises UserError."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={path}: {error.strerror}") from None


def report_failures(failed: Sequence[dict[str, str]]) -> int:
    """Names on stderr what could not be scored -> exit status."""
    if not failed:
        return 0
    print(f"\n{len(failed)} could not be scored:", file=sys.stderr)
    for record in failed:
        print(f"  {record['path']}: {record['error']}", file=sys.stderr)
    return SOME_FAILED


def convert_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("source", metavar="SRC", help=WEIGHTS_HELP)
    verb.add_argument("target", metavar="DST", help=".pth, .safetensors, or a name without suffix for a checkpoint directory")


def run_convert(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.convert import convert

    weights = convert(args.source, args.target)
    print(f"{args.target}: weights {weights.card.weights_sha256[:12]} from {args.source}")
    return 0


def compile_arguments(verb: argparse.ArgumentParser) -> None:
    add_config_arguments(verb)
    verb.add_argument("--topology", required=True, metavar="T", help="v5e:16x16, v4:2x2x2, ... (needs libtpu, no TPU), or cpu:8")


def run_compile(args: argparse.Namespace, rest: list[str]) -> int:
    config = load_config(args.parser, args.config, rest)
    from lfm_jax import aot

    compilation = aot.compile_for(config, args.topology)
    print(compilation.table())
    if compilation.fits:
        return 0
    print(f"\nlfm compile: {compilation.topology} does not hold it: try config.accumulate or config.model.remat", file=sys.stderr)
    return FAULT


VERBS = {
    "train": (train_arguments, run_train, "train a detector, or resume its training, and test it"),
    "evaluate": (evaluate_arguments, run_evaluate, "accuracy and AP on labelled folders"),
    "predict": (predict_arguments, run_predict, "score images: real or AI-generated"),
    "convert": (convert_arguments, run_convert, "convert weights between PyTorch, safetensors and checkpoints"),
    "compile": (compile_arguments, run_compile, "compile a training config for devices that are not here"),
}
