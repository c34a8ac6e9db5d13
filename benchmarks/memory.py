"""Peak memory of `lfm predict` and `lfm evaluate` on a folder of files that are made to cost much, and over very many files.

python benchmarks/memory.py WEIGHTS [--many 100000] [--protocols crop256,tiles256] [--limit_mib 2048]

The hostile folder: a lossless WebP of 16383 x 8000 px in 5 kB sixteen times, a PNG of 11000 x 11000 px eight times, and a
noisy JPEG of 12 megapixels. The many files are hard links to 300 images of 48 to 160 px. Prints a line per command with the peak of
resident memory, for the many also at every tenth; status 1 if one is over the limit.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("0_real", "1_fake")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--many", type=int, default=0, help="how many small files; default none")
    parser.add_argument("--protocols", default="crop256,tiles256", help="for the hostile folder")
    parser.add_argument("--limit_mib", type=int, default=2048)
    args = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_hostile(root / "hostile")
        weights = f"--weights={args.weights}"
        for protocol in args.protocols.split(","):
            peaks.append(measured(["predict", root / "hostile", weights, f"--protocol={protocol}", "--format=jsonl"]))
            out = f"--out={root / f'out-{protocol}'}"
            peaks.append(measured(["evaluate", weights, f"--data={root / 'hostile'}", f"--protocol={protocol}", out]))
        if args.many:
            make_many(root / "many", args.many)
            command = ["predict", root / "many", weights, "--protocol=native", "--format=jsonl"]
            peaks.append(measured(command, lines=args.many))
    sys.exit(max(peaks) > args.limit_mib)


def make_hostile(root: Path) -> None:
    """Half of each kind as real, half as fake."""
    rng = np.random.default_rng(0)
    for label in LABELS:
        (root / label).mkdir(parents=True)
    first = root / LABELS[0]
    Image.new("RGB", (16383, 8000)).save(first / "webp0.webp", lossless=True)
    Image.linear_gradient("L").resize((11000, 11000)).convert("RGB").save(first / "png0.png", compress_level=1)
    Image.fromarray(rng.integers(0, 256, (3000, 4000, 3), dtype=np.uint8)).save(first / "photo.jpg", quality=85)
    for name, suffix, count in (("webp", ".webp", 16), ("png", ".png", 8)):
        for index in range(1, count):
            os.link(first / f"{name}0{suffix}", root / LABELS[index % 2] / f"{name}{index}{suffix}")


def make_many(root: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    originals = []
    for index in range(300):
        height, width = rng.integers(48, 161, 2)
        originals.append(root.with_name(f"original{index}.png"))
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(originals[-1])
    root.mkdir()
    for index in range(count):
        os.link(originals[int(rng.integers(300))], root / f"{index:06d}.png")


def measured(arguments: list[object], *, lines: int = 0) -> float:
    """Run the command and print its peak of resident memory in MiB, which is returned; for so many lines, on the way too."""
    command = [sys.executable, "-m", "lfm_jax", *map(str, arguments)]
    start, peak, seen = time.monotonic(), 0.0, 0
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE if lines else subprocess.DEVNULL, stderr=errors, text=True)
        if lines:
            assert process.stdout
            for seen, _ in enumerate(process.stdout, start=1):
                if seen in (1, lines) or seen % (lines // 10) == 0:
                    peak = max(peak, resident(process.pid, "VmHWM"))
                    now = resident(process.pid, "VmRSS")
                    print(f"  {seen} files: {now:.0f} MiB now, peak {peak:.0f}, {time.monotonic() - start:.0f} s", flush=True)
        while process.poll() is None:
            peak = max(peak, resident(process.pid, "VmHWM"))
            time.sleep(0.05)
        errors.seek(0)
        if process.returncode not in (0, 3):
            sys.exit(f"status {process.returncode}: {errors.read()[-2000:]}")
    print(
        f"{peak:7.0f} MiB  {time.monotonic() - start:5.0f} s  status {process.returncode}  lfm {arguments[0]} {arguments[-2]}",
        flush=True,
    )
    return peak


def resident(pid: int, field: str) -> float:
    """A figure of /proc/PID/status in MiB, 0 once the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(field)), 0.0)


if __name__ == "__main__":
    main()
