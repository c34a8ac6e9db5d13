"""`lfm data check` of many small images, in one process and on Beam's workers: seconds, CPU time, and whether reports are equal.

    python -m benchmarks.check_on_beam --images 10000 --workers 2

In the environment of docs/data.md that has Beam. The images are drawn, one in fifty is a copy of another.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def make_images(root: Path, count: int) -> None:
    rng, last = np.random.default_rng(0), b""
    for number in range(count):
        folder = root / f"generator_{number % 8 // 2}" / ("0_real", "1_fake")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{number:06d}.jpg"
        if number and number % 50 == 0:
            file.write_bytes(last)
            continue
        Image.fromarray(rng.integers(0, 256, (64, 64 + number % 5, 3), dtype=np.uint8)).save(file, quality=90)
        last = file.read_bytes()


def check(root: Path, out: Path, *options: str) -> str:
    """Runs the command and prints what it took. Returns the report."""
    start, before = time.monotonic(), cpu()
    ran = subprocess.run(
        [sys.executable, "-m", "lfm_jax", "data", "check", root, f"--out={out}", *options], capture_output=True, text=True
    )
    if ran.returncode not in (0, 3):
        sys.exit(ran.stderr[-2000:])
    print(f"{' '.join(options) or 'one process'}: {time.monotonic() - start:.0f} s, {cpu() - before:.0f} s of CPU time", flush=True)
    return (out / "check.json").read_text()


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "data")
        make_images(root, args.images)
        options = f"--direct_num_workers={args.workers} --direct_running_mode=multi_processing"
        alone = check(root, Path(scratch, "alone"), "--threads=2")
        on_beam = check(root, Path(scratch, "beam"), "--engine=beam", f"--beam_options={options}")
        print(f"{len(json.loads(alone)['duplicates'])} groups of duplicates; reports equal: {alone == on_beam}")
        sys.exit(alone != on_beam)


if __name__ == "__main__":
    main()
