"""Checks, times and prints the GPU rows of benchmarks/README.md, within ten minutes on one GPU.

python benchmarks/gpu.py [--shared=DIR] [--minutes=9] [--out=gpu.json]
python benchmarks/gpu.py --smoke          # the same on a CPU with tiny sizes: does it run?

Needs jax with its GPU plugin, flax, optax, ml_collections, safetensors, pillow, tabulate and tqdm, and torch for the
comparison; those in pure Python may be brought along as wheels. Does not need grain, clu, orbax or tfds.
A row that fails says why, and the others are made; rows for which no time is left are named.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout that is not installed

import numpy as np
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.bench import inference, machine, training
from lfm_jax.bench.measuring import Measure, measure_nothing, short_reason
from lfm_jax.bench.networks import with_dtype
from lfm_jax.bench.rows import HEADS, Row
from lfm_jax.models import random_variables
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.state_dict import to_state_dict

Section = Callable[[], Iterator[Row]]
TRAINING = {"train_batches": (32, 256), "train_side": 224}
FULL = {"batches": (32, 64, 128, 256, 512, 1024), "side": 256, **TRAINING, "seconds": 12.0, "widths": (64, 128, 256, 512)}
SMOKE = {"batches": (2,), "side": 48, "train_batches": (4,), "train_side": 48, "seconds": 0.1, "widths": (4, 8, 8, 8)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder with golden/ and weights/: first check the logits of the released code")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no new row is begun")
    parser.add_argument("--out", type=Path, help="JSON file for the rows and the machine")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, any device")
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    described = machine.describe()
    print(described, flush=True)
    rows: list[Row] = []
    for name, section in sections(SMOKE if args.smoke else FULL, args.shared).items():
        if time.monotonic() > deadline:
            rows.append(Row(name, 0, skipped="no time left"))
            continue
        try:
            for row in section():
                rows.append(row)
                print(f"{name}: {' | '.join(row.cells())}", flush=True)
        except Exception as error:  # one section that fails must not cost the others
            rows.append(Row(name, 0, skipped=short_reason(error)))
    print("\n" + tabulate([row.cells() for row in rows], HEADS, tablefmt="github", disable_numparse=True))
    if args.out:
        args.out.write_text(json.dumps({"machine": described, "rows": [row.to_json() for row in rows]}, indent=1))
    failed = [row for row in rows if row.skipped and row.what.startswith(("lfm_jax", "golden"))]
    return 1 if failed else 0


def sections(sizes: dict[str, Any], shared: Path | None) -> dict[str, Section]:
    """What is measured, in order of interest."""
    config = config_lib.model()
    config.widths = sizes["widths"]
    variables = random_variables(with_dtype(config, "float32"))
    parts: dict[str, Section] = {}
    if shared:
        parts["golden logits"] = lambda: golden(shared)
    parts["peaks"] = peaks
    for batch in sorted(sizes["batches"], key=lambda batch: abs(batch - 256)):
        parts[f"inference, batch {batch}"] = lambda batch=batch: inference.rows(
            config,
            variables,
            batches=[batch],
            dtypes=["bfloat16", "float32"],
            side=sizes["side"],
            seconds=sizes["seconds"],
            baseline=_torch_scorers(config, variables),
            measure=_measure(),
        )
    for dtype in ("bfloat16", "float32"):
        for batch in sizes["train_batches"]:
            parts[f"training {dtype}, batch {batch}"] = lambda dtype=dtype, batch=batch: train(
                config, variables, dtype, batch, sizes
            )
    return parts


def golden(shared: Path) -> Iterator[Row]:
    """The logits of the released code for every 8th image: float32 to 1e-4 + 1e-5 |logit|, bfloat16 to 2 % of the largest."""
    from lfm_jax.data import protocols
    from lfm_jax.data.images import decode

    loaded = weights_io.load(shared / "weights" / "lfm_bs_model.pth")
    with open(shared / "golden" / "logits.tsv", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))[::8]
    images = np.stack([protocols.parse("resize256")(decode(shared / "data" / line["path"])) for line in lines])
    expected = np.array([float(line["resize256"]) for line in lines])
    for dtype in ("float32", "bfloat16"):
        score, _ = inference.jax_scorer(with_dtype(loaded.card.model_config(), dtype), loaded.variables, len(images), 256)
        error = np.abs(score(images) - expected)
        allowed = 1e-4 + 1e-5 * np.abs(expected) if dtype == "float32" else 0.02 * np.abs(expected).max()
        row = Row(f"golden logits {dtype}: at most {error.max():.1e} off", len(images))
        row.skipped = "" if (error <= allowed).all() else f"{int((error > allowed).sum())} of {len(images)} are too far off"
        yield row


def peaks() -> Iterator[Row]:
    """What the device can do at most, measured; shares of the peak are relative to this."""
    for dtype in ("bfloat16", "float32"):
        yield Row(f"matrix product {dtype}: {machine.peak_flops(dtype) / 1e12:.1f} TFLOP/s", 0)
    yield Row(f"memory: {machine.bandwidth() / 1e9:.0f} GB/s", 0)


def train(config: Any, variables: Any, dtype: str, batch: int, sizes: dict[str, Any]) -> Iterator[Row]:
    """Our step in `dtype`, with and without regularisers, against PyTorch's in float32 and in the same dtype."""
    run = config_lib.base()
    run.batch_size, run.model = batch, config.copy_and_resolve_references()
    run.model.compute_dtype = dtype
    baseline = {}
    if pytorch := _pytorch():
        for precision in dict.fromkeys(("float32", dtype)):
            for mode in ("eager", "compiled"):
                options = {"bfloat16": precision == "bfloat16", "compiled": mode == "compiled"}
                baseline[f"PyTorch {mode} {precision}"] = lambda options=options: pytorch.trainer(
                    _network(pytorch, config, variables), **options
                )
    seconds, side = sizes["seconds"], sizes["train_side"]
    yield from training.rows(run, variables, side=side, seconds=seconds, baseline=baseline, measure=_measure())


def _pytorch() -> Any:
    """The module of the baseline, None without PyTorch."""
    try:
        from lfm_jax.bench import pytorch
    except ImportError:
        return None
    return pytorch


def _network(pytorch: Any, config: Any, variables: Any) -> Any:
    return pytorch.load(to_state_dict(variables, models.build(config)), tuple(config.widths), config.maps, config.pooling.k)


def _torch_scorers(config: Any, variables: Any) -> dict[str, inference.Scorer]:
    try:
        pytorch = _pytorch()
        return pytorch.scorers(_network(pytorch, config, variables)) if pytorch else {}
    except Exception as error:  # a baseline that fails must not cost our own rows
        print(f"no PyTorch baseline: {short_reason(error)}")
        return {}


def _measure() -> Measure:
    pytorch = _pytorch()
    return pytorch.measure_gpu_memory if pytorch else measure_nothing


if __name__ == "__main__":
    sys.exit(main())
