"""A benchmark from beginning to end: network, baseline, rows as they come, and the whole as a table or JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.bench import inference, inputs, machine, training
from lfm_jax.bench.common import HEADS, Row, random_variables, unmeasured, with_dtype
from lfm_jax.errors import UserError
from lfm_jax.runtime.progress import say
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.state_dict import to_state_dict

THREADS = (1, 2, 4, 8)


@dataclass
class Report:
    """`stages`: seconds a batch of the largest size; {} where that is not asked for."""

    kind: str
    machine: dict[str, Any]
    peaks: dict[str, float]
    rows: list[Row] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    baseline: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "rows": [row.to_json() for row in self.rows]}

    def table(self) -> str:
        """Markdown: the machine, the rows, the stages."""
        told = self.machine
        lines = [f"{told['cpu']}, {told['cores']} cores; {told['devices']} device(s) {told['device']}; {told['versions']}"]
        lines += [f"largest {dtype} matrix product: {peak / 1e9:.0f} GFLOP/s" for dtype, peak in self.peaks.items()]
        lines += [self.baseline] if self.baseline else []
        lines += ["", tabulate([row.cells() for row in self.rows], HEADS, tablefmt="github", disable_numparse=True)]
        if self.stages:
            whole = sum(self.stages.values())
            cells = [[name, f"{1e3 * seconds:.1f}", f"{seconds / whole:.0%}"] for name, seconds in self.stages.items()]
            lines += ["", tabulate(cells, ["stage", "ms", "share"], tablefmt="github", disable_numparse=True)]
        return "\n".join(lines)


def make(
    kind: str, *, weights: str | None, batches: Sequence[int], dtypes: Sequence[str], side: int, data: str | None, seconds: float
) -> Report:
    """What `lfm bench` prints; a line of progress for each row.

    Raises:
      UserError: weights or data that cannot be used.
    """
    config, variables = _network(weights)
    torch_lfm, why_not = _torch()
    peaks = {dtype: machine.peak_flops(dtype) for dtype in dtypes}
    report = Report(kind, machine.describe(), peaks, baseline=why_not)
    measured = torch_lfm.measured if torch_lfm else unmeasured

    def network() -> Any:
        return torch_lfm.load(to_state_dict(variables, models.build(config)), tuple(config.widths), config.maps, config.pooling.k)

    if kind == "inference":
        scorers = torch_lfm.scorers(network()) if torch_lfm else {}
        rows = inference.rows(
            config,
            variables,
            batches=batches,
            dtypes=dtypes,
            side=side,
            seconds=0.8 * seconds,
            baseline=scorers,
            measured=measured,
        )
        report.rows = _told(rows)
        report.stages = inference.stages(config, variables, batch=max(batches), dtype=dtypes[0], side=side, seconds=0.2 * seconds)
        return report
    ways = {"PyTorch eager float32": False, "PyTorch compiled float32": True} if torch_lfm else {}
    trainers = {name: lambda compiled=compiled: torch_lfm.trainer(network(), compiled=compiled) for name, compiled in ways.items()}
    for batch in batches:
        for dtype in dtypes:
            run = _training_config(config, dtype, batch, side, data)
            share = seconds / len(batches) / len(dtypes)
            if kind == "input":
                report.rows += _told(inputs.rows(run, threads=THREADS, seconds=share / 2))
                trainers = {}
            trained = training.rows(run, variables, side=side, seconds=share, baseline=trainers, measured=measured)
            report.rows += _told(trained)
    return report


def _network(weights: str | None) -> tuple[ConfigDict, dict[str, Any]]:
    if weights:
        loaded = weights_io.load(weights)
        config = loaded.card.model_config()
        if config.backbone != "snet":
            raise UserError(f"{weights}: lfm bench is for SNet, not {config.backbone}; benchmarks/baselines.py times that")
        return config, loaded.variables
    config = config_lib.model()
    return config, random_variables(with_dtype(config, "float32"))


def _torch() -> tuple[Any, str]:
    """The baseline's module, or why there is none."""
    try:
        from lfm_jax.bench import torch_lfm
    except ImportError as error:
        return None, f"no PyTorch to compare with: {error}"
    return torch_lfm, ""


def _training_config(model: ConfigDict, dtype: str, batch: int, side: int, data: str | None) -> ConfigDict:
    config = config_lib.base()
    config.batch_size, config.model = batch, model.copy_and_resolve_references()
    config.model.compute_dtype = dtype
    config.data.source, config.data.root, config.data.crop = "folder" if data else "synthetic", data or "", side
    config.data.resize = max(config.data.resize, side)
    config.data.synthetic.train = 64
    return config


def _told(rows: Iterator[Row]) -> list[Row]:
    found = []
    for row in rows:
        found.append(row)
        say(f"{row.what}, batch {row.batch}: {row.skipped or f'{row.images_per_s:.1f} images/s'}")
    return found
