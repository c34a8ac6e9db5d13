"""Put trained weights into the package: with a threshold, what they were shown to see, and an entry in the registry.

    python tools/ship_weights.py TRAINED NAME --val=VAL --about="..." --training="..." [--licence=Apache-2.0]

TRAINED is anything that `lfm convert` reads. VAL holds GROUP/{0_real,1_fake}/ folders of images that were not trained on:

1. The threshold is fitted on them as they are, for at most 1 % false alarms, under `crop256`.
2. The operating range is measured on them and on copies of their lossless files, saved as JPEG and WebP of several
   qualities, under `crop256` and `tiles256`: at that threshold, and with no word about which images they were.
3. NAME.safetensors goes into lfm_jax/weights/shipped/, its size and sha256 into lfm_jax/weights/registry.toml, and its logits
   of drawn images into tests/weights/shipped_logits.json, to which every machine is held.

An entry of that name is replaced. The default of the registry is left alone: change that line by hand.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from lfm_jax.data import synthetic
from lfm_jax.inference import detector
from lfm_jax.runtime.progress import progress
from lfm_jax.weights import io, named

FALSE_ALARMS = 0.01
# One copy for each band of quality that is counted for itself, so that no picture counts twice in it.
COPIES = [*(("jpg", "JPEG", quality) for quality in (50, 75, 90, 96)), ("webp", "WEBP", 80)]
LOGITS = Path(__file__).resolve().parents[1] / "tests/weights/shipped_logits.json"
DRAWN = range(6)  # of the built-in test images: a photograph and a fake in turns
LOSSLESS = (".png", ".bmp", ".tif", ".tiff")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained")
    parser.add_argument("name")
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--about", required=True, help="what they are, in a few words, as lfm weights lists it")
    parser.add_argument("--training", required=True, help="what they were trained on, for the card")
    parser.add_argument("--licence", default="Apache-2.0")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        calibrated = calibrate(args.trained, args.val, with_copies(args.val, folder / args.val.name), folder)
        weights = io.load(calibrated)
    weights.card.training = {**weights.card.training, "data": args.training, "init_from": "lfm"}
    weights.card.calibration["data"] = args.val.name
    weights.card.licence = args.licence
    weights.card.protocol = "crop256"
    target = named.SHIPPED / f"{args.name}.safetensors"
    io.save(target, weights)
    register(args.name, target, args.about, args.licence)
    LOGITS.write_text(json.dumps(json.loads(LOGITS.read_text()) | {args.name: logits_of_drawn_images(target)}, indent=1) + "\n")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


def calibrate(trained: str, val: Path, val_and_copies: Path, folder: Path) -> Path:
    """Weights -> a file of the same weights with threshold and operating ranges in its card."""
    fitted, middle, measured = (folder / f"{step}.safetensors" for step in ("fitted", "middle", "measured"))
    objective = f"--objective=fpr={FALSE_ALARMS}"
    for source, data, target, options in (
        (trained, val, fitted, ["--protocol=crop256", objective]),
        (fitted, val_and_copies, middle, ["--protocol=crop256", "--range"]),
        (middle, val_and_copies, measured, ["--protocol=tiles256", "--range"]),
    ):
        command = [sys.executable, "-m", "lfm_jax", "calibrate", f"--weights={source}", f"--data={data}", f"--out={target}"]
        subprocess.run([*command, *options], check=True)
    return measured


def with_copies(val: Path, target: Path) -> Path:
    """Links to all images of `val`, and copies of its lossless ones in the formats and qualities of COPIES."""
    files = [Path(folder, name) for folder, _, names in os.walk(val, followlinks=True) for name in names]
    for file in progress(files, total=len(files), what="save again"):
        link = target / file.relative_to(val)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
        if file.suffix.lower() in LOSSLESS:
            save_again(file, link)
    return target


def save_again(file: Path, link: Path) -> None:
    """Saves copies of a file beside the link to it."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    for suffix, kind, quality in COPIES:
        image.save(link.with_name(f"{link.stem}_{quality}.{suffix}"), kind, quality=quality)


def register(name: str, file: Path, about: str, licence: str) -> None:
    """Writes the entry of weights that lie in the package; everything else in the registry stays as it is."""
    content = file.read_bytes()
    entry = (
        f'[weights.{name}]\nabout = "{about}"\nlicence = "{licence}"\nfile = "{file.name}"\n'
        f'size = {len(content)}\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    )
    others = re.sub(rf"\n\[weights\.{name}\]\n(?:[^\[\n].*\n?)*", "", named.REGISTRY.read_text())
    named.REGISTRY.write_text(f"{others.rstrip()}\n\n{entry}")


def logits_of_drawn_images(weights: Path) -> list[float]:
    """Logits of built-in images of 256 px, which are the same on every machine."""
    network = detector.load(weights)
    return [round(network(synthetic.example(0, "test", index, 256)[0]).logit, 4) for index in DRAWN]


if __name__ == "__main__":
    main()
