"""Timing of alternatives against each other: in turns, in one process, so that whatever else the machine does hits all.

In: functions that wait for their own result. Out: seconds of every call, and the ratios of their medians.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Timing:
    """Seconds of each call, in order."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def p95(self) -> float:
        return float(np.percentile(self.seconds, 95))


def in_turns(alternatives: Mapping[str, Callable[[int], object]], *, rounds: int, warm_up: int = 2) -> dict[str, Timing]:
    """Call each alternative once a round, in alternating order -> its Timing; the first `warm_up` rounds do not count.

    A function gets the number of the round, so that it can take fresh input; it must wait until its result is there.
    """
    timings = {name: Timing() for name in alternatives}
    for round_ in range(-warm_up, rounds):
        for name in list(alternatives)[:: 1 if round_ % 2 else -1]:
            start = time.perf_counter()
            alternatives[name](round_)
            if round_ >= 0:
                timings[name].seconds.append(time.perf_counter() - start)
    return timings
