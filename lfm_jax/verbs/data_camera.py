"""`lfm data camera`: lossless photographs for training, made from JPEGs by a simulated camera."""

import argparse

from lfm_jax.runtime.paths import expanded
from lfm_jax.verbs.arguments import refuse, training_split, whole

SUMMARY = "make lossless photographs from JPEGs"
EXAMPLES = ("lfm data camera DATA/train DATA/train", "lfm data camera DATA/train photographs --seed=1")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("root", metavar="ROOT", help="labelled images, GROUP/{0_real,1_fake}; the split to train on")
    verb.add_argument(
        "out", metavar="OUT", help="folder for the photographs, GROUP-camera/0_real, which may be ROOT; run again to resume"
    )
    verb.add_argument("--seed", type=whole, default=0, metavar="N", help="of the draws for each photograph, default 0")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.data.prepare.camera import jpeg_photographs, render
    from lfm_jax.data.sources.folder import open_folder
    from lfm_jax.verbs.derived import tell

    source = open_folder(training_split(args, "photographs are made to train on"))
    total = len(jpeg_photographs(source))
    return tell(render(source, expanded(args.out), seed=args.seed), total=total, what="camera", missing="a render")
