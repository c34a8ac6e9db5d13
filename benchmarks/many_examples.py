"""What the list of a source's images costs: bytes per image, and seconds until it can be used, for very many made-up images.

    python -m benchmarks.many_examples                    # a million examples of each kind of source
    python -m benchmarks.many_examples --files 100000     # and a folder of hard links: listing, and the first training batch

No image is read but those of the batch. Each measurement has a process of its own. Bytes are told twice: what Python and numpy
allocated and still hold (tracemalloc), and by how much the resident memory grew at its peak.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lfm_jax import config
from lfm_jax.data.order import training_order
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Example, listing_of
from lfm_jax.data.sources.folder import FileSource, open_folder
from lfm_jax.data.sources.joined import JoinedSource, PartOfSource
from lfm_jax.data.sources.listed import open_list
from lfm_jax.data.sources.records import Facts, RecordSource, read_index, write_index

GENERATORS = 20


def examples(count: int) -> Iterator[Example]:
    for index in range(count):
        generator, label = f"generator_{index * GENERATORS // count}", index % 2
        yield Example(f"{generator}/class/{('0_real', '1_fake')[label]}/{index:08d}.jpg", label, "suite", generator)


def facts(count: int) -> Iterator[Facts]:
    for one in examples(count):
        assert one.label is not None
        yield Facts(one.path, one.label, one.suite, one.generator, "class", os.urandom(32).hex(), 90_000, 512, 512, "JPEG")


def files(count: int, scratch: Path) -> FileSource:
    return FileSource(scratch, list(examples(count)) if is_old() else examples(count))


def listed(count: int, scratch: Path) -> FileSource:
    file = scratch / "images.csv"
    if not file.exists():
        rows = (f"{one.path},{one.label},{one.generator}\n" for one in examples(count))
        with open(file, "w") as out:
            out.write("path,label,group\n")
            out.writelines(rows)
    return open_list(file)


def prepared(count: int, scratch: Path) -> RecordSource:
    if not (scratch / "index_train.jsonl").exists():
        write_index(scratch, "train", facts(count))
    if is_old():
        return RecordSource(range(count), read_index(scratch, "train"), name="prepared")  # type: ignore[arg-type]
    from lfm_jax.data.sources.records import indexed

    return RecordSource(range(count), indexed(scratch, "train"), name="prepared")  # type: ignore[arg-type]


def joined(count: int, scratch: Path) -> JoinedSource:
    return JoinedSource([files(count // 2, scratch), files(count - count // 2, scratch)], name="joined")


def part(count: int, scratch: Path) -> PartOfSource:
    return PartOfSource(files(2 * count, scratch), range(0, 2 * count, 2))


SOURCES: dict[str, Callable[[int, Path], Any]] = {
    "files": files,
    "a list": listed,
    "prepared": prepared,
    "two joined": joined,
    "half of twice as many": part,
}


def is_old() -> bool:
    """Whether this runs on a version that kept every example as an object, to be compared with."""
    import importlib.util

    return importlib.util.find_spec("lfm_jax.data.sources.index") is None


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def measure(name: str, count: int, scratch: Path, traced: bool) -> dict[str, float]:
    make = SOURCES[name]
    make(2, scratch / "small")
    before, start = peak(), time.process_time()
    if traced:
        tracemalloc.start()
    source = make(count, scratch)
    made = time.process_time()
    if traced:
        held = tracemalloc.get_traced_memory()[0]
        path_bytes = sum(len(os.fsencode(one.path)) for one in source.examples)
        return {"bytes": held / count, "path": path_bytes / count}
    grown = peak() - before
    listing_of(source)
    hashed = time.process_time()
    order = training_order(source.examples, "source", seed=0)
    ordered = time.process_time()
    order(0, 0)
    rng = np.random.default_rng(0)
    places = rng.integers(count, size=100_000).tolist()
    begun = time.process_time()
    for place in places:
        source.examples[place]
    access = time.process_time() - begun
    seconds = {"make": made - start, "hash": hashed - made, "order": ordered - hashed}
    return {"resident": grown / count, **seconds, "access_us": 10 * access}


def first_batch(root: Path) -> dict[str, float]:
    """Seconds from the folder to the first training batch."""
    start, cpu = time.monotonic(), time.process_time()
    source = open_folder(root)
    listed, listed_cpu = time.monotonic(), time.process_time()
    data = config.data()
    data.update({"resize": 64, "crop": 64, "threads": 2, "prefetch": 1})
    next(TrainPipeline(source, data, seed=0).batches(0, 1, 32))
    ends = {"batch": time.monotonic() - listed, "batch_cpu": time.process_time() - listed_cpu}
    return {"list": listed - start, "list_cpu": listed_cpu - cpu, **ends}


def make_tree(root: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    originals: Sequence[Path] = [root.with_name(f"original{index}.png") for index in range(100)]
    for original in originals:
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(original)
    for number, one in enumerate(examples(count)):
        file = root / one.path
        if number < 2 or number % (count // GENERATORS) < 2:
            file.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % 100], file)


def in_a_process(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", default=",".join(SOURCES), metavar="SOURCE,...")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "small").mkdir()
        for name in filter(None, args.only.split(",")):
            in_a_process(write_files, name, args.examples, scratch)
            row = in_a_process(measure, name, args.examples, scratch, True) | in_a_process(
                measure, name, args.examples, scratch, False
            )
            print(name, json.dumps({key: round(value, 2) for key, value in row.items()}), flush=True)
        if args.files:
            (scratch / "tree").mkdir()
            make_tree(scratch / "tree", args.files)
            for _ in range(args.turns):
                row = in_a_process(first_batch, scratch / "tree")
                print("folder", json.dumps({key: round(value, 2) for key, value in row.items()}), flush=True)


def write_files(name: str, count: int, scratch: Path) -> dict[str, float]:
    """Writes the files that a source needs, outside of what is measured."""
    SOURCES[name](count, scratch)
    return {}


if __name__ == "__main__":
    main()
