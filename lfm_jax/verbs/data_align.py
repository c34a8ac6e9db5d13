"""`lfm data align`: fakes that differ from photographs in nothing but the traces of a generator's decoder."""

import argparse

from lfm_jax.runtime.paths import expanded
from lfm_jax.verbs.arguments import positive, refuse, whole
from lfm_jax.verbs.derived import tell

SUMMARY = "make fakes of photographs by a generator's decoder"
EXAMPLES = (
    "lfm data align DATA/train aligned --encoder=E.pth --decoder=D.pth",
    "lfm data align DATA/train aligned --encoder=E.pth --decoder D.pth shuffle.safetensors",
)


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("root", metavar="ROOT", help="labelled images, GROUP/{0_real,1_fake}; the split to train on")
    verb.add_argument("out", metavar="OUT", help="folder for the fakes, GROUP/1_fake; run again to resume after an interruption")
    verb.add_argument("--encoder", required=True, metavar="FILE", help="weights of TAEF2's encoder: taef2_encoder.pth")
    verb.add_argument(
        "--decoder",
        required=True,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="taef2_decoder.pth, and decoders of lfm data decoder; one is drawn for each photograph",
    )
    verb.add_argument("--seed", type=whole, default=0, metavar="N", help="of the draws for each fake, default 0")
    verb.add_argument(
        "--max_pixels", type=positive, default=1 << 20, metavar="N", help="leave out larger photographs, default 2^20"
    )
    verb.add_argument(
        "--match_power", action="store_true", help="give a fake its photograph's power at every frequency: sharpness and noise"
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    from lfm_jax.data.prepare.align import align
    from lfm_jax.data.sources.folder import open_folder
    from lfm_jax.weights.autoencoder import load_bank

    bank = load_bank(args.encoder, args.decoder)
    source = open_folder(args.root)
    photographs = sum(example.label == 0 for example in source.examples)
    results = align(source, expanded(args.out), bank, seed=args.seed, max_pixels=args.max_pixels, match_power=args.match_power)
    return tell(results, total=photographs, what="align", missing="a fake")
