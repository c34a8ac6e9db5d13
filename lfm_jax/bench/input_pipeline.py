"""The input pipeline alone: from files, or drawn images, to training batches in memory, by number of threads."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from lfm_jax.bench.rows import Row
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.open import open_split


def rows(config: ConfigDict, *, threads: Sequence[int], seconds: float) -> Iterator[Row]:
    """A row for each number of threads.

    Args:
      config: of a training run; its data is read.
      seconds: of timing in all, about; at least three batches are timed for each row.
    """
    source, batch = open_split(config.data, "train", seed=config.seed), config.batch_size
    for count in threads:
        data = config.data.copy_and_resolve_references()
        data.threads = count
        batches = TrainPipeline(source, data, seed=config.seed).batches(0, 1 << 20, batch)
        for _ in range(data.prefetch + 1):  # batches that were read ahead while the first was awaited do not count
            next(batches)
        durations: list[float] = []
        while len(durations) < 3 or sum(durations) < seconds / len(threads):
            start = time.perf_counter()
            next(batches)
            durations.append(time.perf_counter() - start)
        mean = float(np.mean(durations))  # batches come in bursts, so the mean is the rate and the median is not
        yield Row(f"input, {count} thread(s)", batch, batch / mean, 1e3 * mean, 1e3 * float(np.percentile(durations, 95)))
