"""Ablations: many runs that change a few fields of one base config, each with several seeds.

A sweep file has a get_config() that returns the base and a get_sweep() that returns a `Sweep`. Each run gets a workdir,
runs/NAME/ in the folder of the sweep, and `sweep_results` makes one table of them. Runs do not depend on each other: they
can run one after another, or each in its own process.
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
from lfm_jax.errors import ConfigError, DataError, PreemptedError, UserError, blamed, first_line
from lfm_jax.evaluation.saved import read_results
from lfm_jax.runtime.paths import write_whole
from lfm_jax.runtime.progress import say

FINISHED, FAILED, TESTED = "finished.json", "error.txt", Path("test", "best")  # in a run's workdir


@dataclass(frozen=True)
class Sweep:
    """What a sweep file returns from get_sweep().

    Attributes:
      variants: for each name the dotted fields that it changes; the others are compared with the first one, the base.
    """

    variants: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int] = (0, 1, 2)

    @property
    def base(self) -> str:
        """Name of the variant that the others are compared with."""
        return next(iter(self.variants))


@dataclass(frozen=True)
class SweepRun:
    """One variant with one seed; `config` is the complete config of its run."""

    variant: str
    seed: int
    config: ConfigDict
    workdir: Path

    @property
    def name(self) -> str:
        return f"{self.variant}-seed{self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether exactly this config was trained and tested in the workdir. One with damaged results is tested again."""
        return bool(self._finished())

    @property
    def seconds(self) -> float | None:
        """How long the finished run took; None for one that was made in several goes."""
        return self._finished().get("seconds")

    def _finished(self) -> dict[str, Any]:
        """What was written when the run was finished, {} if it is not, or if that or its results are damaged."""
        try:
            finished = json.loads((self.workdir / FINISHED).read_bytes())
            same = finished["config"] == config_lib.flatten(self.config.to_dict())
            read_results(self.workdir / TESTED)
        except (FileNotFoundError, DataError, KeyError, TypeError, ValueError, RecursionError):
            return {}
        return finished if same and isinstance(finished.get("seconds"), int | float | None) else {}

    @property
    def error(self) -> str:
        """Why the last attempt at this run failed, in one line; "" if it did not fail."""
        path = self.workdir / FAILED
        return next(iter(path.read_text(errors="replace").splitlines()), "unknown") if path.is_file() else ""


def load(path: str) -> Sweep:
    """Run a sweep file and call its get_sweep().

    Raises:
      ConfigError: the file has no get_sweep(), or the sweep has no variants or no seeds.
    """
    get_sweep = getattr(presets.load_preset(path), "get_sweep", None)
    if get_sweep is None:
        raise ConfigError(
            f"--config={path}: a sweep needs a function get_sweep() -> lfm_jax.training.sweep.Sweep beside get_config()"
        )
    try:
        sweep: Sweep = get_sweep()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"--config={path}: get_sweep(): {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(sweep, Sweep):
        raise ConfigError(f"--config={path}: get_sweep() returned {type(sweep).__name__}, expected a Sweep")
    if not sweep.variants or not sweep.seeds:
        raise ConfigError(f"--config={path}: get_sweep() returns {len(sweep.variants)} variants and {len(sweep.seeds)} seeds")
    return sweep


def plan(sweep: Sweep, config: ConfigDict, out: Path) -> list[SweepRun]:
    """All runs of a sweep: every variant with the first seed, then every variant with the next one.

    Raises:
      ConfigError: a variant changes an unknown field, or to a value that cannot be trained. Nothing has run by then.
    """
    runs = []
    for seed in sweep.seeds:
        for variant, changes in sweep.variants.items():
            if not re.fullmatch(r"[\w.+-]+", variant):
                raise ConfigError(f"variant {variant!r}: expected letters, digits and any of _ . + -, because it names folders")
            changed = config.copy_and_resolve_references()
            try:
                changed.update_from_flattened_dict({**changes, "seed": seed})
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ConfigError(f"variant {variant!r}: {' '.join(str(error.args[0]).split())}") from None
            with blamed(f"variant {variant!r}"):
                config_lib.validate(changed)
            runs.append(SweepRun(variant, seed, changed, out / "runs" / f"{variant}-seed{seed}"))
    return runs


def choose(runs: Sequence[SweepRun], *, only: str | None = None, index: int | None = None) -> list[SweepRun]:
    """The run with the name `only`, or with the number `index` from 0; all of them if neither is given.

    Raises:
      UserError: there is no such run.
    """
    if index is not None and index >= len(runs):
        raise UserError(f"--index={index}: there are {len(runs)} runs, 0 to {len(runs) - 1}")
    if index is not None:
        return [runs[index]]
    chosen = [run for run in runs if only in (None, run.name)]
    if not chosen:
        raise UserError(f"--only={only}: expected one of {', '.join(run.name for run in runs)}")
    return chosen


def run_all(runs: Sequence[SweepRun]) -> list[SweepRun]:
    """Run all that are not finished, resuming those that were interrupted, and return those that failed.

    A run that fails does not stop the ones after it.

    Raises:
      PreemptedError: the sweep was told to stop, and the run in progress has saved.
    """
    failed = []
    for number, run in enumerate(runs, start=1):
        title = f"sweep: run {number} of {len(runs)}, {run.name}"
        if run.is_finished:
            say(f"{title}: already finished")
            continue
        say(f"{title}: {'resumes' if _is_begun(run) else 'starts'}")
        start = time.monotonic()
        _attempt(run)
        if run.error:
            failed.append(run)
        say(f"{title}: {f'failed: {run.error}' if run.error else f'finished in {time.monotonic() - start:.0f} s'}")
    return failed


def _is_begun(run: SweepRun) -> bool:
    return (run.workdir / "config.json").exists()


def _attempt(run: SweepRun) -> None:
    """Train and test. Any failure is written down instead of raised, so that it does not cost a night of other runs."""
    from lfm_jax.training.loop import train_and_evaluate  # here, because --collect needs no training stack

    run.workdir.mkdir(parents=True, exist_ok=True)
    in_one_go, start = not _is_begun(run), time.monotonic()
    (run.workdir / FAILED).unlink(missing_ok=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the table of all runs
            results = train_and_evaluate(run.config, run.workdir)
        if not results:
            raise UserError("there is no test split to score: set config.data.test_root, and config.eval.test to True")
    except PreemptedError:
        raise
    except Exception as error:
        (run.workdir / FAILED).write_text(f"{first_line(error)}\n\n{traceback.format_exc()}")
        return
    seconds = round(time.monotonic() - start, 1) if in_one_go else None  # unknown for a run made in several goes
    finished = {"seconds": seconds, "config": config_lib.flatten(run.config.to_dict())}
    write_whole(run.workdir / FINISHED, (json.dumps(finished, indent=1) + "\n").encode())
