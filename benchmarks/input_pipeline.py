"""Training images per second: this pipeline and a PyTorch DataLoader doing the same PIL work, in turns, in one process.

    python benchmarks/input_pipeline.py [--source folder|arrayrecord] [--root ROOT] [--workers 2] [--rounds 5]
    python benchmarks/input_pipeline.py --tree 100000       # how soon the first batch of a large tree is ready

The script draws its images (photograph-like, 256 to 512 px, half JPEG and half PNG) unless --root names a folder with
GROUP/{0_real,1_fake}/. Both pipelines read, convert to RGB, resize to 256 (bilinear), crop 224 at random and flip.
The DataLoader comes in two variants: float32, normalised in the worker as usual (torchvision's ToTensor and Normalize by
hand), and uint8. Before anything is timed, the script checks that all give the same pixels.
"""

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grain
import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset

from lfm_jax import config as config_lib
from lfm_jax.data import synthetic
from lfm_jax.data.images import decode_bytes, read
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Source
from lfm_jax.data.sources.folder import FileSource, open_folder
from lfm_jax.runtime.rng import Stream, host_rng
from lfm_jax.runtime.timing import in_turns

BATCH, RESIZE, CROP = 32, 256, 224
OURS, KEEPING = "lfm_jax", "lfm_jax, cache_mib, 2nd epoch on"
FLOAT, UINT8, BARE = "DataLoader, float32", "DataLoader, uint8", "bare decoding"
MEAN, STD = (torch.tensor(config_lib.model()[name]).view(3, 1, 1) for name in ("mean", "std"))


def draw_images(root: Path, count: int) -> None:
    """Write `count` images below `root`, real and fake, half of each as JPEG and half as PNG."""
    rng = np.random.default_rng(0)
    for index in range(count):
        height, width = rng.integers(256, 513, 2)
        pixels, label, generator = synthetic.example(0, "train", index, max(height, width))
        folder = root / generator / ("1_fake" if label else "0_real")
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels[:height, :width])
        if index // 2 % 2:
            image.save(folder / f"{index:06d}.jpg", quality=int(rng.integers(75, 98)))
        else:
            image.save(folder / f"{index:06d}.png")


class Records:
    """The files of a source in one ArrayRecord file, in order; read through grain and decoded like files."""

    def __init__(self, source: FileSource, path: Path):
        from array_record.python.array_record_module import ArrayRecordWriter

        writer = ArrayRecordWriter(str(path), "group_size:1")
        for example in source.examples:
            writer.write(read(source.root / example.path))
        writer.close()
        self.name, self.examples = str(path), source.examples
        self.records = grain.sources.ArrayRecordDataSource([str(path)])

    def image(self, index: int) -> Image.Image:
        return decode_bytes(self.records[index])


class TorchDataset(Dataset):
    """The same work by position, the way it is usually written for PyTorch."""

    def __init__(self, pipeline: TrainPipeline, *, normalise: bool, same_draws: bool):
        self.order, self.source, self.seed = pipeline._order, pipeline.source, pipeline.seed
        self.normalise, self.same_draws = normalise, same_draws

    def __getitem__(self, position: int) -> tuple[torch.Tensor, float]:
        epoch, offset = divmod(position, len(self.source.examples))
        index = int(self.order(epoch)[offset])
        image = self.open(index).resize((RESIZE, RESIZE), Image.Resampling.BILINEAR)
        if self.same_draws:
            rng = host_rng(self.seed, Stream.AUGMENT, position)
            top, left, flip = *(int(rng.integers(RESIZE - CROP + 1)) for _ in "hw"), rng.random() < 0.5
        else:
            top, left, flip = *(int(torch.randint(RESIZE - CROP + 1, ())) for _ in "hw"), bool(torch.rand(()) < 0.5)
        image = image.crop((left, top, left + CROP, top + CROP))
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image))
        if self.normalise:
            pixels = pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255).sub_(MEAN).div_(STD)
        return pixels, float(self.source.examples[index].label)

    def open(self, index: int) -> Image.Image:
        if not isinstance(self.source, FileSource):
            return self.source.image(index)
        with open(self.source.root / self.source.examples[index].path, "rb") as file:
            return Image.open(file).convert("RGB")


class Steps:
    """A sampler of the positions in the batches of a round; setting `first` moves it to another round."""

    def __init__(self, steps: int):
        self.steps, self.first = steps, 0

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.first + self.steps):
            yield list(range(step * BATCH, (step + 1) * BATCH))

    def __len__(self) -> int:
        return self.steps


class Alternatives:
    """Ways to read `steps` batches of one source, each with `workers` threads or processes."""

    def __init__(self, source: Source, *, workers: int, steps: int):
        self.source, self.workers, self.steps = source, workers, steps
        data = config_lib.data()
        data.resize, data.crop, data.threads = RESIZE, CROP, workers
        self.pipeline = TrainPipeline(source, data, seed=0)
        data.cache_mib = len(source.examples)  # more than they take
        keeping = TrainPipeline(source, data, seed=0)
        self.batches = {
            OURS: self.ours(self.pipeline),
            KEEPING: self.ours(keeping),
            FLOAT: self.torch(normalise=True),
            UINT8: self.torch(normalise=False),
        }

    def ours(self, pipeline: TrainPipeline):
        def batches(round_: int) -> Iterator[np.ndarray]:
            first = max(round_, 0) * self.steps
            return (batch["image"] for batch in pipeline.batches(first, first + self.steps, BATCH))

        return batches

    def torch(self, *, normalise: bool, same_draws: bool = False):
        sampler = Steps(self.steps)
        dataset = TorchDataset(self.pipeline, normalise=normalise, same_draws=same_draws)
        loader = DataLoader(dataset, batch_sampler=sampler, num_workers=self.workers, persistent_workers=True)

        def batches(round_: int) -> Iterator[torch.Tensor]:
            sampler.first = max(round_, 0) * self.steps
            return (images for images, _ in loader)

        return batches

    def bare(self, round_: int) -> None:
        """Reading and decoding alone."""
        indices = [(max(round_, 0) * self.steps * BATCH + i) % len(self.source.examples) for i in range(self.steps * BATCH)]
        with ThreadPoolExecutor(self.workers) as pool:
            for _ in pool.map(lambda part: [self.source.image(i).size for i in part], np.array_split(indices, self.steps)):
                pass

    def check_equal(self) -> None:
        """Raises AssertionError if the three give different pixels for the same random draws."""
        plain, normal = (self.torch(normalise=normalise, same_draws=True)(0) for normalise in (False, True))
        for ours, theirs, floats in zip(self.batches[OURS](0), plain, normal, strict=True):
            np.testing.assert_array_equal(ours, theirs.numpy())
            back = (floats * STD + MEAN).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
            np.testing.assert_array_equal(ours, back.numpy())


def consume(batches: Iterator) -> None:
    for batch in batches:
        batch[-1, -1, -1, -1].item()


def peak_memory(alternatives: Alternatives, name: str) -> tuple[float, float]:
    """Peak MiB of a fresh process and its workers, counting shared pages once, and how much of it came with reading."""
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_watch, args=(alternatives, name, send))
    child.start()
    peak_and_growth = receive.recv()
    child.join()
    return peak_and_growth


def _watch(alternatives: Alternatives, name: str, send) -> None:
    done, samples = threading.Event(), [_proportional_mib(os.getpid())]

    def watch() -> None:
        while not done.wait(0.05):
            samples.append(_proportional_mib(os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    consume(alternatives.batches[name](0))
    done.set()
    watcher.join()
    send.send((max(samples), max(samples) - samples[0]))


def _proportional_mib(pid: int) -> float:
    """Resident memory of a process and its children, in MiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = _children(pid)
    except OSError:  # it has just ended
        return 0.0
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return own + sum(_proportional_mib(child) for child in children)


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(_cpu_seconds(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def compare(source: Source, args: argparse.Namespace) -> None:
    alternatives = Alternatives(source, workers=args.workers, steps=args.steps)
    # Memory first, so that its processes start from one that has read nothing and runs no threads.
    memory = {name: peak_memory(alternatives, name) for name in alternatives.batches}
    alternatives.check_equal()
    calls = {name: lambda round_, read=read: consume(read(round_)) for name, read in alternatives.batches.items()}
    calls[BARE] = alternatives.bare
    cpu: dict[str, list[float]] = {name: [] for name in calls}

    def counted(name: str):
        def run(round_: int) -> None:
            before = _cpu_seconds(os.getpid())
            calls[name](round_)
            cpu[name].append(_cpu_seconds(os.getpid()) - before)

        return run

    timings = in_turns({name: counted(name) for name in calls}, rounds=args.rounds, warm_up=1)
    images, ours = args.steps * BATCH, timings[OURS].median
    rows = []
    for name, timing in timings.items():
        slow, fast = max(timing.seconds), min(timing.seconds)
        peak = [f"{mib:.0f}" for mib in memory[name]] if name in memory else ["", ""]
        rows.append(
            [
                name,
                images / timing.median,
                images / slow,
                images / fast,
                timing.median / ours,
                1e3 * np.median(cpu[name]) / images,
                *peak,
            ]
        )
    print(f"{args.source}: {len(source.examples)} images, {args.workers} workers, {args.rounds} rounds of {images} images")
    headers = ["", "images/s, median", "min", "max", "lfm_jax is faster by", "CPU ms/image", "peak MiB", "of it reading"]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=("", ".0f", ".0f", ".0f", ".2f", ".1f")))


def first_batch(images: FileSource, folder: Path, count: int) -> None:
    """Print the time from a folder of `count` files (hard links to `images`) to its first batch."""
    files = [images.root / example.path for example in images.examples]
    for group in range(20):
        for label in ("0_real", "1_fake"):
            leaf = folder / f"class{group:02d}" / label
            leaf.mkdir(parents=True)
            for i in range(count // 40):
                file = files[i % len(files)]
                os.link(file, leaf / f"{i:06d}{file.suffix}")
    start = time.perf_counter()
    source = open_folder(folder)
    listed = time.perf_counter()
    next(TrainPipeline(source, config_lib.data(), seed=0).batches(0, 100, BATCH))
    ready = time.perf_counter()
    print(f"{len(source.examples)} files: listed in {listed - start:.2f} s, first batch after {ready - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=("folder", "arrayrecord"), default="folder")
    parser.add_argument("--root", type=Path, help="folder with GROUP/{0_real,1_fake}/; default: drawn images")
    parser.add_argument("--images", type=int, default=256, help="how many to draw")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads, or processes of the DataLoader")
    parser.add_argument("--steps", type=int, default=12, help="batches of 32 per measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tree", type=int, metavar="N", help="instead: time the first batch of a tree of N files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if not args.root:
            draw_images(Path(scratch) / "images", args.images)
        files = open_folder(args.root or Path(scratch) / "images")
        if args.tree:
            first_batch(files, Path(scratch) / "tree", args.tree)
        else:
            compare(files if args.source == "folder" else Records(files, Path(scratch) / "images.array_record"), args)


if __name__ == "__main__":
    main()
