"""The input pipeline alone: files (or built-in scenes) to training batches in memory, by number of threads.

In: a run's config, its data included. Out: rows for the table.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from lfm_jax.bench.common import Row
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.open import open_split


def rows(config: ConfigDict, *, threads: Sequence[int], seconds: float) -> Iterator[Row]:
    """A row for each number of threads: about `seconds` in all, at least three batches each after a first one."""
    source, batch = open_split(config.data, "train", seed=config.seed), config.batch_size
    for count in threads:
        changed = config.data.copy_and_resolve_references()
        changed.threads = count
        batches = TrainPipeline(source, changed, seed=config.seed).batches(0, 1 << 20, batch)
        for _ in range(changed.prefetch + 1):  # what was read ahead while the first came does not count
            next(batches)
        took: list[float] = []
        while len(took) < 3 or sum(took) < seconds / len(threads):
            start = time.perf_counter()
            next(batches)
            took.append(time.perf_counter() - start)
        mean = float(np.mean(took))  # batches come in bursts: the mean is the rate, the median is not
        yield Row(f"input, {count} thread(s)", batch, batch / mean, 1e3 * mean, 1e3 * float(np.percentile(took, 95)))
