"""Ablations: many runs of one base config that differ in a few fields, each with several seeds.

In: a sweep file, whose get_config() gives the base and whose get_sweep() a `Sweep`. Out, in a folder: runs/NAME/, a workdir
each, from which `sweep_results` makes one table. No run needs another: they pass in turn, or each in a process of its own.
"""

import contextlib
import json
import re
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from lfm_jax import config as config_lib
from lfm_jax import presets
from lfm_jax.errors import ConfigError, PreemptedError, UserError, first_line
from lfm_jax.runtime.progress import say

FINISHED, FAILED = "finished.json", "error.txt"  # in a run's workdir


@dataclass(frozen=True)
class Sweep:
    """What a sweep file gives. `variants`: of each name the dotted fields that it changes; the first is the base of comparison."""

    variants: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int] = (0, 1, 2)

    @property
    def base(self) -> str:
        return next(iter(self.variants))


@dataclass(frozen=True)
class SweepRun:
    """One variant with one seed; `config` is all of it."""

    variant: str
    seed: int
    config: ConfigDict
    workdir: Path

    @property
    def name(self) -> str:
        return f"{self.variant}-seed{self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether this very config was trained and tested here."""
        path = self.workdir / FINISHED
        return path.is_file() and json.loads(path.read_text())["config"] == config_lib.flatten(self.config.to_dict())

    @property
    def error(self) -> str:
        """The line that says why the run failed when it was last tried; "" where it did not."""
        path = self.workdir / FAILED
        return path.read_text().splitlines()[0] if path.is_file() else ""


def load(path: str) -> Sweep:
    """Name or path of a sweep file -> Sweep. Raises ConfigError: it has no get_sweep(), or that gives no variants or seeds."""
    get_sweep = getattr(presets.load_preset(path), "get_sweep", None)
    if get_sweep is None:
        raise ConfigError(
            f"--config={path}: a sweep needs a function get_sweep() -> lfm_jax.training.sweep.Sweep beside get_config()"
        )
    sweep: Sweep = get_sweep()
    if not sweep.variants or not sweep.seeds:
        raise ConfigError(f"--config={path}: get_sweep() gives {len(sweep.variants)} variants and {len(sweep.seeds)} seeds")
    return sweep


def plan(sweep: Sweep, config: ConfigDict, out: Path) -> list[SweepRun]:
    """All runs of a sweep, one seed after another, so that every variant has one early.

    Raises:
      ConfigError: a variant changes a field that there is not, or to what cannot be; before anything has run.
    """
    runs = []
    for seed in sweep.seeds:
        for variant, changes in sweep.variants.items():
            if not re.fullmatch(r"[\w.+-]+", variant):
                raise ConfigError(f"variant {variant!r}: expected letters, digits and any of _ . + -, as it names folders")
            changed = config.copy_and_resolve_references()
            try:
                changed.update_from_flattened_dict({**changes, "seed": seed})
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ConfigError(f"variant {variant!r}: {' '.join(str(error.args[0]).split())}") from None
            with config_lib.blamed(f"variant {variant!r}"):
                config_lib.validate(changed)
            runs.append(SweepRun(variant, seed, changed, out / "runs" / f"{variant}-seed{seed}"))
    return runs


def choose(runs: Sequence[SweepRun], *, only: str | None = None, index: int | None = None) -> list[SweepRun]:
    """The run of that name, or the one of that number from 0; all of them where neither is given. Raises UserError."""
    if index is not None and index >= len(runs):
        raise UserError(f"--index={index}: there are {len(runs)} runs, 0 to {len(runs) - 1}")
    if index is not None:
        return [runs[index]]
    chosen = [run for run in runs if only in (None, run.name)]
    if not chosen:
        raise UserError(f"--only={only}: expected one of {', '.join(run.name for run in runs)}")
    return chosen


def run_all(runs: Sequence[SweepRun]) -> list[SweepRun]:
    """Run those that are not finished, going on where one was cut short -> those that failed; the others pass all the same.

    Raises:
      PreemptedError: told to stop; the run under way has saved.
    """
    failed = []
    for number, run in enumerate(runs, start=1):
        what = f"sweep: run {number} of {len(runs)}, {run.name}"
        if run.is_finished:
            say(f"{what}: finished before")
            continue
        say(f"{what}: {'goes on' if (run.workdir / 'config.json').exists() else 'starts'}")
        start = time.monotonic()
        _attempt(run)
        if run.error:
            failed.append(run)
        say(f"{what}: {f'failed: {run.error}' if run.error else f'finished in {time.monotonic() - start:.0f} s'}")
    return failed


def _attempt(run: SweepRun) -> None:
    """Train and test. Whatever goes wrong is written down: a night of other runs shall not be lost for it."""
    from lfm_jax.training.loop import train_and_evaluate  # here, as --collect needs no training stack

    run.workdir.mkdir(parents=True, exist_ok=True)
    whole, start = not (run.workdir / "config.json").exists(), time.monotonic()
    (run.workdir / FAILED).unlink(missing_ok=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the table of all
            results = train_and_evaluate(run.config, run.workdir)
        if not results:
            raise UserError("there is no test split to score: set config.data.test_root, and config.eval.test to True")
    except PreemptedError:
        raise
    except Exception as error:
        (run.workdir / FAILED).write_text(f"{first_line(error)}\n\n{traceback.format_exc()}")
        return
    seconds = round(time.monotonic() - start, 1) if whole else None  # those of a run in parts are not known
    finished = {"seconds": seconds, "config": config_lib.flatten(run.config.to_dict())}
    (run.workdir / FINISHED).write_text(json.dumps(finished, indent=1) + "\n")
