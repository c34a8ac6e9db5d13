"""Timing of alternatives by turns in one process, so that whatever else the machine does affects all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Timing:
    """The seconds that each call took, in order."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def p95(self) -> float:
        return float(np.percentile(self.seconds, 95))


def in_turns(alternatives: Mapping[str, Callable[[int], object]], *, rounds: int, warm_up: int = 2) -> dict[str, Timing]:
    """Time each alternative once per round, alternating the order; the first `warm_up` rounds do not count.

    Args:
      alternatives: functions by name. Each gets the number of the round, so that it can take fresh input, and must wait
        for its own result.
      rounds: how many rounds to time.
      warm_up: how many rounds to run before.

    Returns:
      The timing of each alternative.
    """
    timings = {name: Timing() for name in alternatives}
    for turn in range(-warm_up, rounds):
        for name in list(alternatives)[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            alternatives[name](turn)
            if turn >= 0:
                timings[name].seconds.append(time.perf_counter() - start)
    return timings
