"""How alternatives are compared: fresh input in every round, agreement before timing, rounds in turns."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from lfm_jax.runtime.timing import Timing, in_turns

TOLERANCE = {"float32": 1e-3, "TF32": 5e-3, "bfloat16": 5e-2}  # of the largest value
FRESH = 8  # batches of random pixels that the rounds cycle through

Measure: TypeAlias = Callable[..., tuple[Any, int]]  # measure(function, *args) -> its result, and the bytes that it took


def measure_nothing(function: Callable[..., Any], *args: Any) -> tuple[Any, int]:
    """A `Measure` for where the memory cannot be known: 0 bytes."""
    return function(*args), 0


def random_images(batch: int, side: int, seed: int = 0) -> list[np.ndarray]:
    """FRESH batches of images uint8 [batch, side, side, 3]."""
    rng = np.random.default_rng((seed, batch, side))
    return [rng.integers(0, 256, (batch, side, side, 3), np.uint8) for _ in range(FRESH)]


def mismatch(values: np.ndarray, expected: np.ndarray, dtype: str) -> str:
    """By how much the values differ, as a reason not to time what gave them; "" if `dtype` explains the difference."""
    error = float(np.abs(values - expected).max() / np.abs(expected).max())
    return "" if error <= TOLERANCE[dtype] else f"not timed: {error:.1e} of the largest value off lfm_jax float32"


def time_in_turns(alternatives: Mapping[str, Callable[[int], object]], *, seconds: float) -> dict[str, Timing]:
    """Time alternatives in alternating rounds for about `seconds`, but at least 3 rounds. Each must have been called before."""
    if not alternatives:
        return {}
    once = in_turns(alternatives, rounds=1, warm_up=1)
    rounds = min(max(int(seconds / sum(timing.median for timing in once.values())), 3), 200)
    return in_turns(alternatives, rounds=rounds, warm_up=0)


def short_reason(error: BaseException) -> str:
    """Why something did not work, short enough for a table."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"[:90]
