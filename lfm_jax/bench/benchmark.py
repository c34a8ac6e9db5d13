"""A benchmark from beginning to end: the network, the baseline, a row at a time, and all of it as a table or JSON."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.bench import inference, input_pipeline, machine, training
from lfm_jax.bench.measuring import measure_nothing
from lfm_jax.bench.networks import with_dtype
from lfm_jax.bench.rows import HEADS, Row
from lfm_jax.errors import UserError
from lfm_jax.models import random_variables
from lfm_jax.runtime.progress import say
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.state_dict import to_state_dict

THREADS = (1, 2, 4, 8)


@dataclass
class Benchmark:
    """The figures of a benchmark, and the machine they were taken on.

    Attributes:
      peaks: FLOP/s of the largest matrix product, by dtype.
      stages: seconds per batch of the largest size; {} if the network was not timed stage by stage.
      baseline: why there is no PyTorch to compare with; "" if there is.
    """

    kind: str
    machine: dict[str, Any]
    peaks: dict[str, float]
    rows: list[Row] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    baseline: str = ""

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {**vars(self), "rows": [row.to_json() for row in self.rows]}

    def table(self) -> str:
        """Markdown: the machine, the rows, the stages."""
        here = self.machine
        lines = [f"{here['cpu']}, {here['cores']} cores; {here['devices']} device(s) {here['device']}; {here['versions']}"]
        lines += [f"largest {dtype} matrix product: {peak / 1e9:.0f} GFLOP/s" for dtype, peak in self.peaks.items()]
        lines += [self.baseline] if self.baseline else []
        lines += ["", tabulate([row.cells() for row in self.rows], HEADS, tablefmt="github", disable_numparse=True)]
        if self.stages:
            whole = sum(self.stages.values())
            cells = [[name, f"{1e3 * seconds:.1f}", f"{seconds / whole:.0%}"] for name, seconds in self.stages.items()]
            lines += ["", tabulate(cells, ["stage", "ms", "share"], tablefmt="github", disable_numparse=True)]
        return "\n".join(lines)


def run(
    kind: str, *, weights: str | None, batches: Sequence[int], dtypes: Sequence[str], side: int, data: str | None, seconds: float
) -> Benchmark:
    """Make the benchmark that `lfm bench` prints, with a line of progress for each row.

    Args:
      kind: "inference", "train" or "input".
      weights: None for random ones.
      side: of the images, in px.
      data: folder of training images; None for drawn ones.
      seconds: of timing in all; compiling comes on top.

    Raises:
      UserError: the weights or the data cannot be used.
    """
    config, variables = _network(weights)
    pytorch, reason = _pytorch()
    benchmark = Benchmark(kind, machine.describe(), {dtype: machine.peak_flops(dtype) for dtype in dtypes}, baseline=reason)
    measure = pytorch.measure_gpu_memory if pytorch else measure_nothing

    def network() -> Any:
        return pytorch.load(to_state_dict(variables, models.build(config)), tuple(config.widths), config.maps, config.pooling.k)

    if kind == "inference":
        scorers = pytorch.scorers(network()) if pytorch else {}
        sizes: dict[str, Any] = {"batches": batches, "dtypes": dtypes, "side": side}
        rows = inference.rows(config, variables, **sizes, seconds=0.8 * seconds, baseline=scorers, measure=measure)
        benchmark.rows = _with_progress(rows)
        benchmark.stages = inference.seconds_by_stage(
            config, variables, batch=max(batches), dtype=dtypes[0], side=side, seconds=0.2 * seconds
        )
        return benchmark
    share = seconds / len(batches) / len(dtypes)
    for batch in batches:
        for dtype in dtypes:
            training_config = _training_config(config, dtype, batch, side, data)
            if kind == "input":
                benchmark.rows += _with_progress(input_pipeline.rows(training_config, threads=THREADS, seconds=share / 2))
            trainers = _trainers(pytorch, network, dtype) if pytorch and kind == "train" else {}
            rows = training.rows(training_config, variables, side=side, seconds=share, baseline=trainers, measure=measure)
            benchmark.rows += _with_progress(rows)
    return benchmark


def _network(weights: str | None) -> tuple[ConfigDict, dict[str, Any]]:
    """Model config and variables."""
    if weights:
        loaded = weights_io.load(weights)
        config = loaded.card.model_config()
        if config.backbone != "snet":
            raise UserError(f"{weights}: lfm bench is for SNet, not {config.backbone}; benchmarks/baselines.py times that")
        return config, loaded.variables
    config = config_lib.model()
    return config, random_variables(with_dtype(config, "float32"))


def _pytorch() -> tuple[Any, str]:
    """The module of the baseline, or None and the reason why there is none."""
    try:
        from lfm_jax.bench import pytorch
    except ImportError as error:
        return None, f"no PyTorch to compare with: {error}"
    return pytorch, ""


def _trainers(pytorch: Any, network: Callable[[], Any], dtype: str) -> dict[str, Callable[[], training.Trainer]]:
    """PyTorch as it computes unless told otherwise, which comes first, and in bfloat16 where that is asked for."""
    precisions = [pytorch.precisions()[0], *(["bfloat16"] if dtype == "bfloat16" else [])]
    return {
        f"PyTorch {'compiled' if compiled else 'eager'} {precision}": functools.partial(
            lambda **options: pytorch.trainer(network(), **options), precision=precision, compiled=compiled
        )
        for precision in precisions
        for compiled in (False, True)
    }


def _training_config(model: ConfigDict, dtype: str, batch: int, side: int, data: str | None) -> ConfigDict:
    config = config_lib.base()
    config.batch_size, config.model = batch, model.copy_and_resolve_references()
    config.model.compute_dtype = dtype
    config.data.source, config.data.root, config.data.crop = "folder" if data else "synthetic", data or "", side
    config.data.resize = max(config.data.resize, side)
    config.data.synthetic.train = 64
    return config


def _with_progress(rows: Iterator[Row]) -> list[Row]:
    table = []
    for row in rows:
        table.append(row)
        say(f"{row.what}, batch {row.batch}: {row.skipped or f'{row.images_per_s:.1f} images/s'}")
    return table
