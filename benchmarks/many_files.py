"""Scores very many small files in parts, kills the run on the way, and checks that no row is lost or doubled.

python benchmarks/many_files.py WEIGHTS [--files 100000] [--parts 50] [--kills 3] [--packed 0]

The files are hard links to 300 drawn images of 48 to 160 px, in a scratch folder that is removed at the end. A first process
streams all of them to JSON lines, which shows when the first line comes and what memory does. The second does the same in
parts: it is killed with SIGKILL `--kills` times and started again until it ends by itself. With `--packed=N` the files are
then scored once more from N tar files. Prints what was measured; fails if a row is lost, doubled, or has another logit.
"""

import argparse
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.memory import make_many, resident

PROTOCOL = "crop64_pad"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--parts", type=int, default=50)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--packed", type=int, default=0, help="also from that many tar files")
    parser.add_argument("--no_stream", action="store_true", help="in parts only, where there is nothing to compare logits with")
    parser.add_argument("--scratch", type=Path, help="folder to make the files in; default the system's")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        root = Path(scratch)
        start = time.monotonic()
        make_many(root / "many", args.files)
        print(f"{args.files} files made in {time.monotonic() - start:.0f} s", flush=True)
        command = [sys.executable, "-m", "lfm_jax", "predict", f"--weights={args.weights}", f"--protocol={PROTOCOL}"]
        streamed = {} if args.no_stream else stream(command, root, args.files)
        in_parts = [*command, f"--parts={args.parts}", f"--out={root / 'parts'}", str(root / "many")]
        for turn in range(args.kills):
            kill_after_some_parts(in_parts, root / "parts", args.parts * (turn + 1) // (args.kills + 1))
        finish(in_parts)
        in_parts_rows = dict(rows(root / "parts"))
        streamed = streamed or in_parts_rows
        compare(streamed, in_parts_rows, args.files)
        if args.packed:
            pack(root, args.packed)
            tars = sorted(map(str, root.glob("*.tar")))
            finish([*command, f"--parts={args.packed}", f"--out={root / 'from_tar'}", *tars])
            compare(streamed, {Path(path).name: logit for path, logit in rows(root / "from_tar")}, args.files)


def stream(command: list[str], root: Path, count: int) -> dict[str, float]:
    """All files at once, and what the memory was on the way. Returns the logit of each name."""
    start, logits = time.monotonic(), {}
    with open(root / "err", "w") as errors:
        process = subprocess.Popen(
            [*command, "--format=jsonl", str(root / "many")], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout
    for seen, line in enumerate(process.stdout, start=1):
        record = json.loads(line)
        logits[Path(record["path"]).name] = record["logit"]
        if seen == 1 or seen % max(count // 10, 1) == 0:
            now = [resident(process.pid, field) for field in ("VmRSS", "VmHWM")]
            print(f"  {seen} rows: {now[0]:.0f} MiB, peak {now[1]:.0f}, {time.monotonic() - start:.0f} s", flush=True)
    if process.wait():
        sys.exit(f"status {process.returncode}: {(root / 'err').read_text()[-2000:]}")
    print(f"streamed: {count / (time.monotonic() - start):.0f} files/s", flush=True)
    return logits


def kill_after_some_parts(command: list[str], folder: Path, parts: int) -> None:
    """Starts the run and kills it at some moment after that many parts are there."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(list(folder.glob("part-*"))) < parts and process.poll() is None:
        time.sleep(0.05)
    time.sleep(random.random())
    process.kill()
    process.wait()
    there = len(list(folder.glob("part-*")))
    print(f"killed with {there} parts there, beside {len(list(folder.glob('.part-*')))} that was not whole", flush=True)


def finish(command: list[str]) -> None:
    start = time.monotonic()
    ran = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if ran.returncode:
        sys.exit(f"status {ran.returncode}: {ran.stderr[-2000:]}")
    first = next((line for line in ran.stderr.splitlines() if "there already" in line), "none was there before")
    print(f"finished in {time.monotonic() - start:.0f} s: {first}", flush=True)


def rows(folder: Path) -> Iterator[tuple[str, float]]:
    """The name and logit of every row of all parts. Fails on a row that is there twice."""
    seen = set()
    for part in sorted(folder.glob("part-*")):
        for line in part.read_text().splitlines():
            record = json.loads(line)
            if record["path"] in seen:
                sys.exit(f"{record['path']} is there twice")
            seen.add(record["path"])
            yield Path(record["path"]).name, record["logit"]


def compare(streamed: dict[str, float], other: dict[str, float], count: int) -> None:
    if not len(streamed) == len(other) == count or streamed.keys() != other.keys():
        sys.exit(f"{count} files gave {len(streamed)} rows at once and {len(other)} in parts")
    differences = [abs(streamed[name] - other[name]) for name in streamed]
    equal = sum(not difference for difference in differences)
    print(f"{count} rows, each once; {equal} logits equal to the bit, the largest difference {max(differences):.2g}", flush=True)
    if max(differences) > 1e-4:
        sys.exit(1)


def pack(root: Path, count: int) -> None:
    files = sorted((root / "many").iterdir())
    for index in range(count):
        with tarfile.open(root / f"{index:04d}.tar", "w", dereference=True) as tar:
            for file in files[index::count]:
                info = tarfile.TarInfo(file.name)  # not tar.add, which would pack a second hard link as a link
                info.size = file.stat().st_size
                with file.open("rb") as content:
                    tar.addfile(info, content)


if __name__ == "__main__":
    main()
