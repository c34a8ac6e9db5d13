"""`lfm data decoder`: a decoder of another kind that gives TAEF2's pictures, for a bank of aligned fakes."""

import argparse

from lfm_jax.runtime.paths import expanded
from lfm_jax.verbs.arguments import positive, refuse, training_split, whole

SUMMARY = "fit another kind of decoder for data align"
EXAMPLES = (
    "lfm data decoder DATA/train shuffle.safetensors --encoder=E.pth --decoder=D.pth",
    "lfm data decoder DATA/train up.safetensors --encoder=E --decoder=D --width=48",
)
UPSAMPLINGS = ("nearest", "bilinear", "transposed3", "transposed4", "pixel_shuffle")
ACTIVATIONS = ("relu", "silu", "leaky")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("root", metavar="ROOT", help="labelled images, GROUP/0_real; the split to train on, never val or test")
    verb.add_argument("out", metavar="OUT", help="the file to write, .safetensors; its card says what kind of decoder it is")
    verb.add_argument("--encoder", required=True, metavar="FILE", help="weights of TAEF2's encoder: taef2_encoder.pth")
    verb.add_argument("--decoder", required=True, metavar="FILE", help="weights of TAEF2's decoder: taef2_decoder.pth")
    verb.add_argument("--upsampling", choices=UPSAMPLINGS, default="pixel_shuffle", help="how sides are doubled (pixel_shuffle)")
    verb.add_argument("--activation", choices=ACTIVATIONS, default="relu", help="the non-linearity (relu)")
    verb.add_argument("--width", type=positive, default=64, metavar="N", help="channels of its layers, at most 64 (64)")
    verb.add_argument("--steps", type=positive, default=900, metavar="N", help="steps of two crops of 64 px (900)")
    verb.add_argument("--seed", type=whole, default=0, metavar="N", help="of the new layers and the crops (0)")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    refuse(args.parser, rest)
    out = expanded(args.out)
    if out.suffix != ".safetensors":
        args.parser.error(f"OUT = {args.out}: expected a file that ends in .safetensors")
    root = training_split(args, "a decoder must not be fitted on the {split} split")
    if args.width > 64:
        args.parser.error(f"--width={args.width}: expected at most 64, the width of TAEF2")
    from lfm_jax.data.sources.folder import open_folder
    from lfm_jax.models.autoencoder import Decoder, Encoder
    from lfm_jax.runtime.progress import say
    from lfm_jax.training.decoders import Fit, Taef2, fit_decoder
    from lfm_jax.weights.autoencoder import read_half, write_decoder

    taef2 = Taef2(read_half(args.encoder, Encoder())[1], read_half(args.decoder, Decoder())[1])
    decoder = Decoder(args.upsampling, args.width, args.activation)
    told: list[Fit] = []

    def tell(fit: Fit) -> None:
        told.append(fit)
        say(f"step {fit.step}/{args.steps}: PSNR {fit.to_taef2:.1f} dB to TAEF2, {fit.to_photograph:.1f} dB to the photograph")

    params = fit_decoder(decoder, taef2, open_folder(root), steps=args.steps, seed=args.seed, tell=tell)
    last = told[-1]
    fitted = {"fitted_to": "TAEF2 (madebyollin/taesd, MIT licence)", "steps": args.steps, "seed": args.seed}
    figures = {"psnr_to_taef2": round(last.to_taef2, 2), "psnr_to_photograph": round(last.to_photograph, 2)}
    write_decoder(out, decoder, params, fitted | figures)
    say(f"wrote {out}; TAEF2 itself has {last.taef2_to_photograph:.1f} dB to the photograph")
    return 0
