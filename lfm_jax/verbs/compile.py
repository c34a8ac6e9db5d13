"""`lfm compile`: does a training config compile for devices that are not here, and fit into their memory?"""

import argparse
import sys

from lfm_jax.verbs.arguments import FAULT, add_config_arguments, load_config, positive

SUMMARY = "check that a config compiles and fits on other devices"
EXAMPLES = ("lfm compile --config=tiny --topology=cpu:8", "lfm compile --config=tpu_v5e --topology=v5e:16x16")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_config_arguments(verb)
    topology_help = "v5e:16x16, v4:2x2x2, ... (needs libtpu but no TPU), h100:8, a100:1, h200:8 (extra gpu-compile), or cpu:8"
    verb.add_argument("--topology", required=True, metavar="T", help=topology_help)
    verb.add_argument("--what", choices=("train", "score", "both"), default="both", help="which program, default both")
    verb.add_argument(
        "--num_slices", type=positive, default=1, metavar="N", help="slices of a TPU, each of that topology; default 1"
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    config = load_config(args.parser, args.config, rest)
    from lfm_jax.training import aot

    what = aot.WHAT if args.what == "both" else [args.what]
    compilation = aot.compile_for(config, args.topology, slices=args.num_slices, what=what)
    print(compilation.table())
    if compilation.fits:
        return 0
    print(f"\nlfm compile: it does not fit on {compilation.topology}: try config.accumulate or config.model.remat", file=sys.stderr)
    return FAULT
