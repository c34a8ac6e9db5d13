"""`lfm data look`: a picture of what a config does to training images."""

import argparse

from lfm_jax.errors import UserError
from lfm_jax.runtime.paths import expanded
from lfm_jax.verbs.arguments import add_config_arguments, load_config, positive

SUMMARY = "draw images as training sees them, on one sheet"
EXAMPLES = ("lfm data look --config=tiny --out=sheet.png", "lfm data look --config=tiny --out=sheet.png --images=8 --draws=4")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    add_config_arguments(verb)
    verb.add_argument("--out", required=True, metavar="FILE.png", help="the sheet: one row per image, one column per random draw")
    verb.add_argument("--images", type=positive, default=6, metavar="N", help="number of rows, default 6")
    verb.add_argument("--draws", type=positive, default=6, metavar="N", help="number of columns, default 6")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    config = load_config(args.parser, args.config, rest)
    from lfm_jax import config as config_lib
    from lfm_jax.data.contact_sheet import augmentation_sheet
    from lfm_jax.data.sources.open import open_split

    config_lib.validate(config)
    source = open_split(config.data, "train", seed=config.seed)
    sheet = augmentation_sheet(source, config.data, seed=config.seed, images=args.images, draws=args.draws)
    try:
        sheet.save(expanded(args.out))
    except (OSError, ValueError) as error:  # no such folder, or a suffix that is not an image format's
        raise UserError(f"--out={args.out}: {error}") from None
    print(args.out)
    return 0
