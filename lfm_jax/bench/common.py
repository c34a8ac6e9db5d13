"""What the benchmarks share: weights without a file, fresh input, agreement before timing, and rows of a table."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lfm_jax import models
from lfm_jax.models import Lfm
from lfm_jax.runtime.timing import Timing, in_turns

TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # of the largest logit; a GPU's PyTorch rounds the factors of float32 too
FRESH = 8  # batches of random pixels that the rounds go through


@dataclass
class Row:
    """One line of the table. `memory`: bytes, 0 where not known; `utilisation`: share of the measured peak, 0 where not known;
    `skipped`: why there are no figures."""

    what: str
    batch: int
    images_per_s: float = 0.0
    ms: float = 0.0
    p95_ms: float = 0.0
    memory: int = 0
    utilisation: float = 0.0
    ratio: float = 0.0
    skipped: str = ""

    def cells(self) -> list[str]:
        batch = str(self.batch) if self.batch else "-"
        if self.skipped or not self.images_per_s:
            return [self.what, batch, self.skipped]
        known = [f"{self.memory / 2**20:.0f}" if self.memory else "-", f"{self.utilisation:.0%}" if self.utilisation else "-"]
        speed = [f"{value:.1f}" for value in (self.images_per_s, self.ms, self.p95_ms)]
        return [self.what, batch, *speed, *known, f"{self.ratio:.2f}" if self.ratio else "-"]

    def fill(self, timing: Timing, *, reference: Timing, flops: int, peak: float) -> None:
        """The figures of `timing`; `flops` of one image, `peak` FLOP/s of the machine, 0 where it does not apply."""
        self.ms, self.p95_ms, self.images_per_s = 1e3 * timing.median, 1e3 * timing.p95, self.batch / timing.median
        self.ratio = reference.median / timing.median
        self.utilisation = self.images_per_s * flops / peak if peak else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


HEADS = ["what", "batch", "images/s", "ms", "p95 ms", "MiB", "of peak", "ratio"]


def with_dtype(config: ConfigDict, dtype: str) -> Lfm:
    """Model config -> network that computes in `dtype`."""
    changed = config.copy_and_resolve_references()
    changed.compute_dtype = dtype
    return models.build(changed)


def random_variables(model: Lfm, seed: int = 0) -> dict[str, Any]:
    """Variables as numpy arrays: random kernels, neutral vectors. Drawn here, as `models.init` takes long to compile."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)
        return (rng.normal(size=leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1]))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, models.abstract_variables(model))


def random_images(batch: int, side: int, seed: int = 0) -> list[np.ndarray]:
    """FRESH batches of uint8 [batch, side, side, 3]."""
    rng = np.random.default_rng((seed, batch, side))
    return [rng.integers(0, 256, (batch, side, side, 3), np.uint8) for _ in range(FRESH)]


def planned_bytes(program: Any) -> int:
    """A compiled program -> the device memory that XLA plans for it: arguments, results and what lies between."""
    memory = program.memory_analysis()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return kept + memory.temp_size_in_bytes


def disagreement(found: np.ndarray, expected: np.ndarray, dtype: str) -> str:
    """ "" where the values agree to what `dtype` allows, else by how much they do not."""
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    return "" if error <= TOLERANCE[dtype] else f"not timed: {error:.1e} of the largest value off lfm_jax float32"


def time_in_turns(alternatives: Mapping[str, Callable[[int], object]], *, seconds: float) -> dict[str, Timing]:
    """Alternating rounds for about so many seconds, at least 3; every alternative has been called before."""
    if not alternatives:
        return {}
    once = in_turns(alternatives, rounds=1, warm_up=1)
    rounds = min(max(int(seconds / sum(timing.median for timing in once.values())), 3), 200)
    return in_turns(alternatives, rounds=rounds, warm_up=0)


def unmeasured(function: Callable[..., Any], *args: Any) -> tuple[Any, int]:
    """Its result, and 0: nobody knows how much memory it took."""
    return function(*args), 0


def first_line(error: BaseException) -> str:
    """Why something did not work, short enough for a table."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:90]
