"""The `lfm` command: parse the arguments, run the verb, turn errors into one line and an exit status.

Exit status: 0 success; 3 some images could not be scored, and are named; 2 something in the command line or the input
is to be corrected; 1 the work failed; 143 told to stop (SIGTERM, or Ctrl-C while training), after a checkpoint was saved;
130 interrupted.
"""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from lfm_jax import __version__
from lfm_jax.errors import CheckpointError, ClusterError, ParityError, PreemptedError, UserError
from lfm_jax.runtime import kept_memory, program_cache, settings
from lfm_jax.runtime.registry import import_parts
from lfm_jax.runtime.terminal import FILE_NAMES, printable_lines
from lfm_jax.verbs import COMPUTING, VERBS, takes_steps
from lfm_jax.verbs.arguments import FAULT, USAGE, add_require_argument, nearest, refuse, say_devices, unknown_options

IMPORT_HELP = "run this file first: it registers your own parts (docs/extending.md)"
INTERRUPTED, TERMINATED = 130, 143  # as a shell reports SIGINT and SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `lfm` command, which has the process to itself where no `argv` is given."""
    owns_process = argv is None
    argv = _join_two_words(list(sys.argv[1:] if argv is None else argv))
    parser, verbs = build_parser()
    if not argv:  # somebody who does not know yet what there is
        parser.print_help()
        return 0
    if argv and not argv[0].startswith("-") and argv[0] not in verbs:
        parser.error(f"unknown verb {argv[0]!r}{nearest(argv[0], verbs)}: expected one of {', '.join(verbs)}")
    verb = verbs.get(argv[0]) if argv else None
    refuse(verb or parser, unknown_options(verb or parser, argv))
    args, rest = parser.parse_known_args(argv)
    if sys.stderr is None:  # `lfm ... 2>&-`: messages would go to stdout, among the results
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    settings.settle(os.environ)
    program_cache.turn_on(os.environ)
    if owns_process and takes_steps(args):
        kept_memory.keep(os.environ)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\b")  # its notes are for programmers
            warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")  # costs only time
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors=FILE_NAMES)  # for any file name in any encoding
            for path in args.imports:
                import_parts(path)
            if args.verb in COMPUTING and not hasattr(args, "cluster"):  # or after joining the cluster
                say_devices(args)
            status = args.run(args, rest)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except (UserError, ClusterError) as error:
        print(f"lfm {args.verb}: {printable_lines(str(error))}", file=sys.stderr)
        return USAGE
    except (FloatingPointError, ParityError) as error:
        print(f"lfm {args.verb}: {printable_lines(str(error))}", file=sys.stderr)
        return FAULT
    except CheckpointError as error:
        print(f"lfm {args.verb}: {printable_lines(str(error))}", file=sys.stderr, flush=True)
        if sys.stdout is not None:
            sys.stdout.flush()
        os._exit(FAULT)  # at exit the checkpoint writer's threads would bury that line in complaints
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
        print(f"lfm {args.verb}: {printable_lines(str(error))}", file=sys.stderr)
        return FAULT


class VerbHelp(argparse.RawDescriptionHelpFormatter):
    """Help whose usage line names what must be given; the options have a line each below it. Examples keep their lines."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],  # mutually exclusive ones, which argparse has no public name for
        prefix: str | None = None,
    ) -> None:
        needed = [group for group in groups if group.required]
        either = {id(action) for group in needed for action in group._group_actions}
        must = [action for action in actions if action.required or not action.option_strings or id(action) in either]
        others = argparse.Action(option_strings=(), dest="", nargs="?", metavar="options")
        super().add_usage(usage, [*must, others], needed, prefix)


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command, and the parsers of its verbs by name."""
    parser = argparse.ArgumentParser(prog="lfm", description="Detect AI-generated images with LFM.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"lfm_jax {__version__}")
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, module in VERBS.items():
        about = f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}."
        examples = "\n  ".join(["examples:", *module.EXAMPLES])
        texts = {"help": module.SUMMARY, "description": about, "epilog": examples}
        verb = commands.add_parser(name, **texts, formatter_class=VerbHelp, allow_abbrev=False)
        module.add_arguments(verb)
        if name in COMPUTING:
            add_require_argument(verb)
        verb.add_argument("--import", dest="imports", action="append", default=[], metavar="FILE.py", help=IMPORT_HELP)
        verb.set_defaults(run=module.run, parser=verb)
    return parser, commands.choices


def _join_two_words(argv: list[str]) -> list[str]:
    """["data", "check", ...] -> ["data check", ...], because argparse takes a verb of two words as one string."""
    groups = {name.split()[0] for name in VERBS if " " in name}
    return [" ".join(argv[:2]), *argv[2:]] if argv and argv[0] in groups else argv
