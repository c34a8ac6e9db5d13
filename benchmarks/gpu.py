"""Checks, times and prints the GPU rows of benchmarks/README.md, within fifteen minutes of one GPU, start-up included.

python benchmarks/gpu.py [--shared=DIR] [--minutes=7] [--out=gpu.json]
python benchmarks/gpu.py --smoke          # the same on a CPU with tiny sizes: does it run?

Needs jax with its GPU plugin, flax, optax, safetensors, pillow and tabulate, and torch for the comparison. Does not need
ml_collections, grain, clu, orbax or tfds. What matters most comes first. Each row is printed and written to --out as soon as it
is there; SIGTERM or Ctrl-C ends the script with all that it has. A row that fails says why, and the others are made; sections for
which no time is left are named. Beside gpu.json lie the optimized programs, gpu_score.hlo.txt and gpu_train.hlo.txt.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout that is not installed
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")  # the rest is for PyTorch's process

import jax
import numpy as np

import benchmarks.bare  # noqa: F401  before whatever imports ml_collections
from benchmarks.gpu_ours import Scoring, Training, golden, plain_forms, training_config, ways
from benchmarks.gpu_profile import profiled
from benchmarks.gpu_table import Table, timed
from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.bench import machine
from lfm_jax.bench.measuring import mismatch, random_images, short_reason
from lfm_jax.bench.rows import Row
from lfm_jax.bench.stage_costs import flops_per_image
from lfm_jax.models import random_variables
from lfm_jax.weights.state_dict import to_state_dict

Section = Callable[[], Generator[Row]]
FULL = {"side": 256, "train_side": 224, "batch": 256, "score": (64, 1024), "train": (32,), "seconds": 3.0}
SMOKE = {"side": 48, "train_side": 48, "batch": 2, "score": (4,), "train": (4,), "seconds": 0.0}
NO_TIME = "no time left"
WITHOUT_KERNELS, PLAIN = "without our kernels", "plain form"
PYTORCH_BATCHES = 2  # which its rounds cycle through


class Stopped(BaseException):
    """SIGTERM or Ctrl-C."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder with golden/ and weights/: first check the logits of the released code")
    parser.add_argument("--minutes", type=float, default=7.0, help="after which no new row is begun")
    parser.add_argument("--out", type=Path, help="JSON file for the rows, the profiles and the machine")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, any device")
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    table = Table(args.out, seconds=60 * args.minutes)
    table.note("machine", machine.describe())
    print(table.facts["machine"], flush=True)
    made = Sections(table, SMOKE if args.smoke else FULL, args.shared)
    stopped = False
    try:
        run_all(made.in_order(), table)
    except Stopped:
        stopped = True
        table.note("stopped", f"by a signal; {table.seconds_left:.0f} s were left")
    print(f"\n{table}")
    failed = [row for row in table.rows if row.skipped not in ("", NO_TIME) and not row.what.startswith("PyTorch")]
    return 1 if failed or stopped else 0


def stop(_number: int, _frame: Any) -> None:
    raise Stopped


def run_all(sections: dict[str, Section], table: Table) -> None:
    for name, section in sections.items():
        if table.seconds_left <= 0:
            table.add(name, Row(name, 0, skipped=NO_TIME))
            continue
        try:
            with contextlib.closing(section()) as rows:  # which ends a process that makes them
                for row in rows:
                    table.add(name, row)
        except Exception as error:  # one section that fails must not cost the others
            table.add(name, Row(name, 0, skipped=short_reason(error)))
        table.note("memory", {**table.facts.get("memory", {}), name: memory()})


def memory() -> dict[str, int]:
    """Bytes of the first device in use now and at most since the start; {} where it does not say."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return {name: stats[name] for name in ("bytes_in_use", "peak_bytes_in_use", "bytes_limit") if name in stats}


class Sections:
    """What is measured. The two programs that matter most are kept, so that they are profiled without compiling them again."""

    def __init__(self, table: Table, sizes: dict[str, Any], shared: Path | None):
        self.table, self.sizes, self.shared = table, sizes, shared
        self.config = config_lib.model()
        if sizes is SMOKE:
            self.config.widths = (4, 8, 8, 8)
        self.variables = random_variables(models.build(self.config))
        self.kept: dict[str, Scoring | Training] = {}
        self.in_float32: dict[tuple[str, int], Scoring | Training] = {}  # by what and batch: what the others have to agree with

    def in_order(self) -> dict[str, Section]:
        """The sections, those first that matter most."""
        batch, parts = self.sizes["batch"], dict[str, Section]()
        if self.shared:
            parts["golden logits"] = lambda: golden(self.shared)
        parts["inference bfloat16"] = lambda: self.score("bfloat16", batch, keep=True)
        parts["training bfloat16"] = lambda: self.train("bfloat16", batch, keep=True)
        parts["profiles"] = self.profiles
        parts["PyTorch, inference"] = lambda: self.pytorch("score", batch)
        parts["PyTorch, training"] = lambda: self.pytorch("train", batch)
        for form in (WITHOUT_KERNELS, PLAIN):
            parts[f"inference bfloat16, {form}"] = lambda form=form: self.score("bfloat16", batch, form=form)
            parts[f"training bfloat16, {form}"] = lambda form=form: self.train("bfloat16", batch, form=form)
        parts["inference float32"] = lambda: self.score("float32", batch)
        parts["training float32"] = lambda: self.train("float32", batch)
        parts["peaks"] = peaks
        for other in self.sizes["score"]:
            parts[f"inference bfloat16, batch {other}"] = lambda other=other: self.score("bfloat16", other)
        for other in self.sizes["train"]:
            parts[f"training bfloat16, batch {other}"] = lambda other=other: self.train("bfloat16", other)
        return parts

    def score(self, dtype: str, batch: int, *, keep: bool = False, form: str = "") -> Generator[Row]:
        """Scoring in `dtype`, once its logits are near those of float32."""
        images = random_images(batch, self.sizes["side"])

        def make(dtype: str, form: str = "") -> Scoring:
            return Scoring(self._model(form), self.variables, images, dtype, folded=form != PLAIN)

        if ("score", batch) not in self.in_float32:
            self.in_float32["score", batch] = make("float32")
        reference = self.in_float32["score", batch]
        work = make(dtype, form) if form or dtype != "float32" else reference
        if keep:
            self.kept["score"] = work
        yield from self._rows(work, ", ".join(filter(None, (f"inference {dtype}", form))), reference, dtype)

    def train(self, dtype: str, batch: int, *, keep: bool = False, form: str = "") -> Generator[Row]:
        """Training in `dtype` without our regularisers, as PyTorch trains, once its first loss is near that of float32."""
        images = random_images(batch, self.sizes["train_side"])

        def make(dtype: str, form: str = "") -> Training:
            return Training(training_config(self._model(form), dtype, batch), self.variables, images)

        if ("train", batch) not in self.in_float32:
            self.in_float32["train", batch] = make("float32")
        reference = self.in_float32["train", batch]
        with plain_forms() if form == PLAIN else contextlib.nullcontext():
            work = make(dtype, form) if form or dtype != "float32" else reference
        if keep:
            self.kept["train"] = work
        yield from self._rows(work, ", ".join(filter(None, (f"training {dtype}", form))), reference, "bfloat16")

    def _model(self, form: str) -> Any:
        config = self.config.copy_and_resolve_references()
        config.kernels = not form
        return config

    def _rows(self, work: Scoring | Training, name: str, reference: Scoring | Training, tolerance: str) -> Generator[Row]:
        wrong = mismatch(work.first, reference.first, tolerance)
        scoring = isinstance(work, Scoring)
        flops = flops_per_image(models.build(self.config), work.images[0].shape[1]) * (1 if scoring else 3)
        for way, run in ways(work).items():
            row = Row(f"lfm_jax {name}, {way}", len(work.images[0]), memory=work.memory, skipped=wrong)
            if not wrong:
                timing = timed(run, seconds=self.sizes["seconds"])
                row.fill(timing, reference=timing, flops=flops, peak=0.0)
                row.ratio = 0.0
            yield row

    def profiles(self) -> Generator[Row]:
        """Profiles of the two programs that were kept, into the table's file."""
        for what, work in self.kept.items():
            profile = profiled(ways(work)["on the device"], work.program, self.table.beside(f"{what}.hlo.txt"))
            self.table.note(f"profile, {what}", profile)
            for name, calls, milliseconds in profile["kernels"]:
                print(f"  {milliseconds:8.3f} ms a step, {calls} calls  {name[:100]}")
            idle = "idle share unknown" if profile["idle"] is None else f"idle {profile['idle']:.1%} of {profile['span_ms']:.2f} ms"
            yield Row(f"profile, {what}: {idle}; {profile['clocks']}", self.sizes["batch"])

    def pytorch(self, what: str, batch: int) -> Generator[Row]:
        """The rows of PyTorch, made by a process of its own from the same weights and images."""
        side = self.sizes["side" if what == "score" else "train_side"]
        state = {f"state:{key}": array for key, array in to_state_dict(self.variables, models.build(self.config)).items()}
        network = {"widths": np.array(self.config.widths), "maps": self.config.maps, "k": self.config.pooling.k}
        images = np.stack(random_images(batch, side)[:PYTORCH_BATCHES])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "given.npz"
            given = {
                "what": what,
                "images": images,
                "expected": self.in_float32[what, batch].first,
                "seconds": self.sizes["seconds"],
            }
            np.savez(file, **given, **network, **state)
            yield from rows_of_child(file, self.table.seconds_left)


def rows_of_child(file: Path, seconds: float) -> Generator[Row]:
    """Rows of gpu_pytorch.py as they come, for so many seconds."""
    script = Path(__file__).with_name("gpu_pytorch.py")
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen([sys.executable, str(script), str(file)], stdout=subprocess.PIPE, text=True, env=env) as child:
        watch = threading.Timer(seconds, child.kill)
        watch.start()
        try:
            assert child.stdout
            for line in child.stdout:
                if line.startswith("{"):
                    yield Row(**json.loads(line))
        except BaseException:
            child.kill()
            raise
        finally:
            watch.cancel()
    if child.returncode:
        yield Row("PyTorch", 0, skipped=NO_TIME if child.returncode == -signal.SIGKILL else "its process failed, see above")


def peaks() -> Generator[Row]:
    """What the device can do at most, measured; shares of the peak are relative to this."""
    for dtype in ("bfloat16", "float32"):
        yield Row(f"matrix product {dtype}: {machine.peak_flops(dtype) / 1e12:.1f} TFLOP/s", 0)
    yield Row(f"memory: {machine.bandwidth() / 1e9:.0f} GB/s", 0)


if __name__ == "__main__":
    sys.exit(main())
