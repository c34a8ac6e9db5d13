"""A whole evaluation, from a folder to metrics, against a plain PyTorch loop that decodes the same way; and what parts of it cost.

    python -m benchmarks.evaluate --weights=lfm_bs_model.pth --part=speed   # images/s, in turns, after the logits were compared
    python -m benchmarks.evaluate --weights=lfm_bs_model.pth --part=sizes   # programs compiled for a folder of many sizes
    python -m benchmarks.evaluate --weights=lfm_bs_model.pth --part=hosts   # ms of decoding and of each view, one thread
    python -m benchmarks.evaluate --weights=lfm_bs_model.pth --part=kept    # eight cells, with decoded images kept and without
    python -m benchmarks.evaluate --weights=lfm_bs_model.pth --part=grid    # all 26 views in one run against a run for each

The script draws its images (256 to 512 px, half JPEG and half PNG) unless --root names a folder with GROUP/{0_real,1_fake}/.
The loop is that of the released test script: one image after another through PIL and the network, then scikit-learn's AP.
Where all images get one size, a DataLoader with worker processes and batches of 32 is timed as well.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset

import lfm_jax
from benchmarks.input_pipeline import draw_images
from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.data import protocols, views
from lfm_jax.data.cache import KeptSource
from lfm_jax.data.sources.base import Example
from lfm_jax.data.sources.folder import FileSource, open_folder
from lfm_jax.evaluation.evaluate import evaluate_network
from lfm_jax.export.lfm_torch import TorchLfm, normalize
from lfm_jax.inference.detector import Detector
from lfm_jax.inference.network import forward
from lfm_jax.inference.scoring import score
from lfm_jax.models import random_variables
from lfm_jax.runtime.timing import in_turns
from lfm_jax.weights.card import Card

BATCH = 32
Logits = dict[str, float]  # by path


class TorchImages(Dataset):
    """Each image as the test script prepares it: float32 [3, H, W], normalised, with even sides."""

    def __init__(self, source: FileSource, protocol: str):
        self.source, self.protocol = source, protocols.parse(protocol)

    def __len__(self) -> int:
        return len(self.source.examples)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.source.root / self.source.examples[index].path) as image:
            pixels = self.protocol(image.convert("RGB"))[0]
        height, width = pixels.shape[:2]
        return normalize(torch.from_numpy(pixels[None, : height // 2 * 2, : width // 2 * 2].copy()))[0]


@torch.inference_mode()
def with_pytorch(network: TorchLfm, root: Path, protocol: str, *, batch: int, workers: int) -> tuple[Logits, dict[str, float]]:
    """The logits of a folder, and the AP of every generator."""
    source = open_folder(root)
    loader = DataLoader(TorchImages(source, protocol), batch_size=batch, num_workers=workers)
    logits = np.concatenate([network(images).numpy() for images in loader])
    groups: dict[str, list[int]] = {}
    for index, example in enumerate(source.examples):
        groups.setdefault(example.generator, []).append(index)
    labels = np.array([example.label for example in source.examples])
    precision = {name: float(average_precision_score(labels[members], logits[members])) for name, members in groups.items()}
    return {example.path: float(logit) for example, logit in zip(source.examples, logits, strict=True)}, precision


def with_ours(detector: Detector, root: Path, protocol: str) -> tuple[Logits, dict[str, float]]:
    """The same by this package, which also computes all other metrics and their intervals."""
    evaluation = evaluate_network(detector, open_folder(root), [protocol], batch_size=BATCH)
    precision = {row["generator"]: row["ap"] for row in evaluation.rows if row["level"] == "generator"}
    return {prediction["path"]: prediction["logit"] for prediction in evaluation.predictions}, precision


def speed(detector: Detector, network: TorchLfm, root: Path, names: list[str], rounds: int) -> None:
    count, rows = len(open_folder(root).examples), []
    for protocol in names:
        evaluations: dict[str, Callable[[], tuple[Logits, dict[str, float]]]] = {
            "PyTorch, one by one": lambda p=protocol: with_pytorch(network, root, p, batch=1, workers=0),
            "lfm_jax": lambda p=protocol: with_ours(detector, root, p),
        }
        if protocol == "resize256":
            evaluations["PyTorch, DataLoader"] = lambda p=protocol: with_pytorch(
                network, root, p, batch=BATCH, workers=os.cpu_count()
            )
        results = {name: run() for name, run in evaluations.items()}
        reference, precision = results["PyTorch, one by one"]
        for name, (logits, others) in results.items():
            assert logits.keys() == reference.keys()
            expected = [reference[path] for path in logits]
            np.testing.assert_allclose(list(logits.values()), expected, rtol=1e-5, atol=1e-4, err_msg=f"{protocol} {name}")
            assert all(abs(others[generator] - value) < 1e-9 for generator, value in precision.items()), f"{protocol} {name}: AP"
        timings = in_turns({name: lambda _, run=run: run() for name, run in evaluations.items()}, rounds=rounds, warm_up=0)
        base = timings["PyTorch, one by one"].median
        for name, timing in timings.items():
            slow, fast = count / max(timing.seconds), count / min(timing.seconds)
            rows.append([protocol, name, count / timing.median, f"{slow:.1f} to {fast:.1f}", base / timing.median])
    print(f"{count} images, {rounds} rounds in turns, logits and APs equal")
    heads = ["protocol", "", "images/s, median", "min to max", "x one by one"]
    print(tabulate(rows, heads, tablefmt="github", floatfmt=".1f"))


def sizes(detector: Detector, images: int) -> None:
    """Score images that all differ in size, under native, and count the programs that are compiled."""
    rng = np.random.default_rng(0)
    pictures = [Image.new("RGB", tuple(rng.integers(96, 384, 2).tolist())) for _ in range(images)]

    class BlackImages:
        name, examples = "black images", [Example(str(index), 0) for index in range(images)]
        image = staticmethod(pictures.__getitem__)
        content_hash = staticmethod(str)

    for run in ("first", "second"):
        before, start = forward._cache_size(), time.perf_counter()
        assert all(item.error is None for item in score(detector, BlackImages(), "native", batch_size=BATCH))
        new, seconds = forward._cache_size() - before, time.perf_counter() - start
        print(f"{run} run: {images} images of {len({picture.size for picture in pictures})} sizes, {new} programs, {seconds:.1f} s")


def hosts(root: Path, images: int) -> None:
    """What the grid costs the host for each image, on one thread."""
    source, rows = open_folder(root), []
    chosen = np.random.default_rng(0).permutation(len(source.examples))[:images]
    start = time.perf_counter()
    decoded = {int(index): source.image(int(index)) for index in chosen}
    decoding = 1e3 * (time.perf_counter() - start) / len(decoded)
    total = 0.0
    for curve, names in views.GRID.items():
        start = time.perf_counter()
        for name in names:
            view = views.parse(name)
            for index, image in decoded.items():
                view(image, source.examples[index].label, path=source.examples[index].path)
        spent = 1e3 * (time.perf_counter() - start) / len(decoded)
        total += spent
        rows.append([curve, len(names), spent / len(names)])
    cells = sum(map(len, views.GRID.values()))
    print(tabulate([["decoding", "", decoding], *rows], ["", "views", "ms per image"], tablefmt="github", floatfmt=".2f"))
    print(f"{cells} cells: decoding {cells * decoding:.0f} ms of {cells * decoding + total:.0f} ms per image on the host")


def kept(detector: Detector, root: Path, rounds: int) -> None:
    """Eight cells, with the detector and with a network so small that the host takes most of the time, as beside a GPU."""
    config = config_lib.model()
    config.widths, config.maps = (4, 8, 8, 8), 4
    model = models.build(config)
    small = Detector(model, random_variables(model), Card(model=config.to_dict()))

    def run(network: Detector, limit: int) -> object:
        source = KeptSource(open_folder(root), limit=limit)
        return evaluate_network(network, source, ["crop256", "resize256"], views=views.FORMAT_VIEWS, batch_size=BATCH)

    for name, network in {"the released network": detector, "a tiny network": small}.items():
        assert run(network, 0) == run(network, 1 << 30)
        timings = in_turns(
            {limit: lambda _, n=network, limit=limit: run(n, limit) for limit in (0, 1 << 30)}, rounds=rounds, warm_up=0
        )
        seconds = {limit: [round(second, 2) for second in timing.seconds] for limit, timing in timings.items()}
        print(
            f"{name}: {timings[0].median / timings[1 << 30].median:.2f} x; none kept {seconds[0]} s, all kept {seconds[1 << 30]} s"
        )


def grid(weights: str, root: Path, single_views: int) -> None:
    """One command for native and the grid, against one command each for `single_views` of its views; programs stay compiled."""
    names = [name for curve in views.GRID.values() for name in curve]
    count = len(open_folder(root).examples)

    def command(*options: str) -> float:
        with tempfile.TemporaryDirectory() as out:
            argv = [sys.executable, "-m", "lfm_jax", "evaluate", f"--weights={weights}", f"--data={root}", f"--out={out}"]
            start = time.perf_counter()
            subprocess.run(
                [*argv, "--protocol=crop256", *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            return time.perf_counter() - start

    command()  # so that no run below compiles
    together = command("--robustness=grid")
    seconds = [command(f"--views={name}") for name in names[:: len(names) // single_views][:single_views]]
    naive = float(np.median(seconds)) * (len(names) + 1)
    print(f"{count} images: native and {len(names)} views in one run {together:.1f} s; runs of one view {np.round(seconds, 1)} s,")
    print(f"so {naive:.0f} s for {len(names) + 1} of them: {naive / together:.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="the released .pth")
    parser.add_argument("--part", required=True, choices=("speed", "sizes", "hosts", "kept", "grid"))
    parser.add_argument("--root", type=Path, help="folder with GROUP/{0_real,1_fake}/; default: drawn images")
    parser.add_argument("--protocol", nargs="+", default=["resize256", "crop256"], help="of --part=speed")
    parser.add_argument("--images", type=int, default=96, help="how many to draw")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=3, help="views of the grid that are also run on their own")
    args = parser.parse_args()
    detector, network = lfm_jax.load(args.weights), TorchLfm().eval()
    network.load_state_dict(torch.load(args.weights, map_location="cpu"))
    with tempfile.TemporaryDirectory() as scratch:
        root = args.root or Path(scratch) / "images"
        if not args.root and args.part != "sizes":
            draw_images(root, args.images)
        if args.part == "speed":
            speed(detector, network, root, args.protocol, args.rounds)
        elif args.part == "sizes":
            sizes(detector, args.images)
        elif args.part == "hosts":
            hosts(root, args.images)
        elif args.part == "kept":
            kept(detector, root, args.rounds)
        else:
            grid(args.weights, root, args.each)


if __name__ == "__main__":
    main()
