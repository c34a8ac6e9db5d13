"""Arguments that several verbs share, and plain answers to mistaken ones: each error names what was probably meant."""

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO, TypeVar

from lfm_jax.errors import ConfigError, UserError
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.terminal import printable
from lfm_jax.weights import named

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from lfm_jax.data.sources.folder import FileSource
    from lfm_jax.runtime.storage import Mirror

S = TypeVar("S")
FAULT, USAGE, SOME_FAILED = 1, 2, 3  # exit statuses; 0 is success
DTYPES = ("float32", "bfloat16")
WEIGHTS_HELP = "name, .pth, .safetensors, workdir, checkpoint, hf://OWNER/NAME"
PROTOCOL_HELP = "native, resize256, crop224, crop256, crop224_pad, crop256_pad, resize256_crop224, tiles256"


def add_weights_argument(verb: argparse.ArgumentParser, *, more: str = "", action: str = "store") -> None:
    about = f"default {named.default_name()}; {WEIGHTS_HELP}{more}"
    verb.add_argument("--weights", metavar="W", action=action, help=about)


def add_speed_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--batch_size", type=positive, default=32, metavar="N", help="images of 256 px per batch, default 32")
    add_threads_argument(verb)


def add_threads_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--threads", type=positive, default=8, metavar="N", help="threads that read and decode images, default 8")


def add_dtype_argument(verb: argparse.ArgumentParser) -> None:
    about = "float32 (default), or bfloat16, faster on some machines"
    verb.add_argument("--compute_dtype", choices=DTYPES, default=DTYPES[0], metavar="D", help=about)


def add_truncated_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--truncated",
        choices=("refuse", "score"),
        default="refuse",
        metavar="HOW",
        help="images whose pixels are cut: refuse (default), or score, as the authors do",
    )


def add_data_arguments(verb: argparse.ArgumentParser, *, metavar: str, what: str) -> None:
    data = verb.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", metavar=metavar, help=what)
    data.add_argument("--list", metavar="FILE.csv", help="instead: images named in a file with the columns path,label[,group]")
    add_labels_argument(verb)


def add_labels_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--labels", default="", metavar="NAMES", help="names of the label folders, e.g. real:nature,fake:ai")


def open_data(args: argparse.Namespace, opener: Callable[..., S]) -> "S | FileSource":
    """The images of --data or --list, under the names of --labels. `opener` opens --data."""
    from lfm_jax.data.sources.base import parse_labels
    from lfm_jax.data.sources.listed import open_list

    labels = parse_labels(args.labels)
    return open_list(args.list, labels=labels) if args.list else opener(args.data, labels=labels)


def add_config_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--config", required=True, metavar="PRESET", help="name of a preset, e.g. tiny or ablations/k, or a file of your own"
    )
    verb.add_argument(
        "--config.FIELD", metavar="VALUE", help="change one field, e.g. --config.batch_size=64", dest="_", type=_not_a_field
    )


def add_cluster_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0, to start several processes by hand")
    verb.add_argument("--num_processes", type=positive, metavar="N", help="how many processes in all")
    verb.add_argument("--process_id", type=whole, metavar="I", help="number of this process, from 0")
    verb.add_argument("--join_seconds", type=positive, default=300, metavar="S", help="how long to wait for them, default 300")
    verb.add_argument(
        "--cluster",
        default="auto",
        choices=("auto", "slurm", "tpu", "none"),
        metavar="KIND",
        help="auto (default), slurm, tpu or none; see launch/README.md",
    )


def add_require_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--require", choices=("gpu", "tpu"), metavar="KIND", help="refuse to compute on anything but a gpu, or a tpu")


def say_devices(args: argparse.Namespace) -> None:
    """The first line of a verb that computes: on what. Raises UserError if --require asks for something else."""
    from lfm_jax.runtime.devices import say_devices

    say_devices(f"lfm {args.verb}", require=args.require)


def join_cluster(args: argparse.Namespace) -> None:
    """Join the other processes, if there are any. To be called before anything touches a device."""
    from lfm_jax.runtime import distributed, program_cache

    cluster = distributed.find_cluster(
        os.environ,
        coordinator=args.coordinator,
        num_processes=args.num_processes,
        process_id=args.process_id,
        method=args.cluster,
    )
    if cluster.arguments is not None:
        program_cache.turn_off_ours(os.environ)
    distributed.join(cluster, seconds=args.join_seconds)
    say_devices(args)


def whole(text: str) -> int:
    """Type of an option that numbers something, from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number")
    return int(text)


def positive(text: str) -> int:
    """Type of an option that counts something."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def make_folder(path: str) -> "Mirror":
    """Create the folder of --out, on this machine or in a bucket, before the work that it is for. Raises UserError."""
    from lfm_jax.runtime.storage import Mirror, as_path

    try:
        out = Mirror(as_path(path))
        out.folder.mkdir(parents=True, exist_ok=True)
        return out
    except OSError as error:
        raise UserError(f"--out={path}: {error.strerror or error}") from None


def require_stdout() -> None:
    """Raises UserError if standard output is closed (`>&-`), where results would be lost after all the work."""
    if sys.stdout is None:
        raise UserError("standard output is closed, and the results would be lost: leave it open, or give --out")


def results_to(path: str | None, *, inputs: Iterable[str | os.PathLike[str]]) -> AbstractContextManager[TextIO]:
    """Where results go: the file of --out, or standard output without one. Raises UserError as `open_out` does."""
    if path:
        return open_out(path, inputs=inputs)
    require_stdout()
    return nullcontext(sys.stdout)


def open_out(path: str, *, inputs: Iterable[str | os.PathLike[str]]) -> TextIO:
    """Open the file of --out for writing; file names of any encoding can go into it.

    Raises:
      UserError: it cannot be written, is one of the `inputs`, or is an image: a name too few, as in `--out a.png b.png`,
        must not cost the image.
    """
    from lfm_jax.data.images import is_image

    file = expanded(path)
    try:
        if file.is_file():
            if any(expanded(one).exists() and file.samefile(expanded(one)) for one in inputs):
                raise UserError(f"--out={path}: this file is read, and would be overwritten; choose another name")
            if is_image(file):
                raise UserError(f"--out={path}: an image, which would be overwritten; choose a name for the results")
        return open(file, "w", newline="", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"--out={path}: {error.strerror}") from None


def report_failures(failed: Sequence[dict[str, str]]) -> int:
    """Name the images that could not be scored on stderr, and return the exit status.

    An image with the same reason under several protocols, views or weights is named once.
    """
    if not failed:
        return 0
    print(f"\n{len({record['path'] for record in failed})} could not be scored:", file=sys.stderr)
    for path, error in dict.fromkeys((record["path"], record["error"]) for record in failed):
        print(f"  {printable(path)}: {printable(error)}", file=sys.stderr)
    return SOME_FAILED


def load_config(parser: argparse.ArgumentParser, preset: str, changes: list[str]) -> "ConfigDict":
    """The config of a preset, with the `--config.FIELD=VALUE` arguments applied. Raises ConfigError naming the field."""
    from absl import flags
    from ml_collections import config_flags

    from lfm_jax import presets

    refuse(parser, [argument for argument in changes if argument.startswith("-") and not argument.startswith("--config.")])
    config, argv, values = presets.load_config(preset), ["lfm", *changes], flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        positional = values(argv)[1:]
    except (AttributeError, KeyError) as error:
        raise ConfigError(presets.unknown_field(error)) from None
    except (flags.Error, TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    refuse(parser, positional)
    return values.config


def unknown_options(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Options in `argv` that `parser` does not have. (argparse itself would complain of a missing one first.)"""
    ours = argv[: argv.index("--")] if "--" in argv else argv
    known = option_names(parser)
    options = [arg.split("=")[0] for arg in ours if arg.startswith("--")]
    return [option for option in options if option not in known and not option.startswith("--config.")]


def refuse(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> None:
    """End with a usage error if there are arguments that the verb does not take, suggesting the nearest name."""
    if unknown:
        name = unknown[0].split("=")[0]
        parser.error(f"unknown argument {name}{nearest(name, option_names(parser))}")


def training_split(args: argparse.Namespace, why: str) -> Path:
    """The folder ROOT. Ends with a usage error where it is called val or test; `why` may name it as {split}."""
    root = expanded(args.root)
    if root.name in ("val", "test"):
        args.parser.error(f"ROOT = {args.root}: {why.format(split=root.name)}; name the training split")
    return root


def option_names(parser: argparse.ArgumentParser) -> list[str]:
    """All options that a parser takes."""
    return [option for action in parser._actions for option in action.option_strings]


def nearest(name: str, known: Iterable[str]) -> str:
    """ ", did you mean X?", or "" if nothing is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _not_a_field(_: str) -> NoReturn:
    raise argparse.ArgumentTypeError("FIELD stands for the name of a config field, e.g. --config.batch_size=64")
