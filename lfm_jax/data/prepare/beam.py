"""Tasks handed out by Apache Beam to workers: processes on this machine, or machines of a cluster (extra [beam]).

A task is a few names and a range of a manifest, so that pipelines stay small and can be pickled. Workers write their
answers to files, each of which is there whole or not at all. Images and output must lie where all workers see them.
"""

import contextlib
import functools
import io
import json
import logging
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfm_jax.errors import UserError, first_line
from lfm_jax.runtime.paths import replacing

GROUPS = "groups"  # what their files are called


@dataclass(frozen=True)
class Beam:
    """Beam's PipelineOptions, and a runner that goes before the one they name."""

    options: Any
    runner: Any = None

    @classmethod
    def parse(cls, text: str) -> "Beam":
        """Takes Beam's options as on a command line, such as `--runner=DirectRunner --direct_num_workers=2`.

        Raises:
          UserError: Beam is not installed, or knows no such runner or value.
        """
        pipeline_options = _imported("options.pipeline_options")
        refusal = io.StringIO()
        try:
            with contextlib.redirect_stderr(refusal):
                options = pipeline_options.PipelineOptions(shlex.split(text))
                options.get_all_options()
            _imported("runners.runner").create_runner(options.view_as(pipeline_options.StandardOptions).runner or "DirectRunner")
        except (SystemExit, ValueError) as error:  # of argparse; of a runner by another name
            reason = refusal.getvalue().strip().rpartition("error: ")[2] or first_line(error)
            raise UserError(f"--beam_options={text!r}: {reason}") from None
        log = options.view_as(pipeline_options.WorkerOptions)
        log.default_sdk_harness_log_level = log.default_sdk_harness_log_level or "ERROR"
        return cls(options)

    def run(self, work: Callable[[Any], Any], tasks: Sequence[Any], folder: Path, *, grouped: bool = False) -> None:
        """Has workers call `work`, a function of a module, with each task; `answers(folder)` has what they returned.

        Args:
          grouped: `work` returns an answer and pairs of a key and a value. `groups(folder)` then has the values of each key that
            is in several pairs, of whatever tasks.

        Raises:
          UserError: a worker failed, or the runner did, or answers are missing.
        """
        beam = _imported()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with beam.Pipeline(runner=self.runner, options=self.options) as pipeline:
                numbered = pipeline | "Tasks" >> beam.Create(list(enumerate(tasks))) | "SpreadTasks" >> beam.Reshuffle()
                pairs = numbered | "Work" >> beam.FlatMap(functools.partial(_write_answer, work, str(folder), grouped))
                if grouped:
                    repeated = pairs | beam.GroupByKey() | "Repeated" >> beam.FlatMap(_repeated_values)
                    _ = repeated | "WriteGroups" >> beam.io.WriteToText(str(folder / GROUPS))
        except Exception as error:
            raise UserError(f"--engine=beam: {_cause(error)}: run the same command again once it is mended") from None
        missing = len(tasks) - len(list(folder.glob("*.json")))
        if missing:
            raise UserError(f"--engine=beam: {missing} of {len(tasks)} answers are not in {folder}: do all workers see it?")


def answers(folder: Path) -> Iterator[Any]:
    """What the workers returned, in the order of their tasks."""
    for path in sorted(folder.glob("*.json")):
        yield json.loads(path.read_bytes())


def groups(folder: Path) -> Iterator[list[Any]]:
    """The values of each key that workers returned more than once, in any order."""
    for path in folder.glob(f"{GROUPS}-*"):
        with path.open() as lines:
            yield from map(json.loads, lines)


def take_answers(folder: Path) -> Iterator[Any]:
    """The answers, which are removed afterwards."""
    yield from answers(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _write_answer(work: Callable[[Any], Any], folder: str, grouped: bool, numbered: tuple[int, Any]) -> list[tuple[Any, Any]]:
    number, task = numbered
    answer, pairs = work(task) if grouped else (work(task), [])
    with replacing(Path(folder, f"{number:08d}.json"), several_writers=True) as partial:
        partial.write_text(json.dumps(answer))
    return pairs


def _repeated_values(group: tuple[Any, Iterable[Any]]) -> list[str]:
    """A line with the values of a key that has several."""
    values = list(group[1])
    return [json.dumps(values)] if len(values) > 1 else []


def _cause(error: Exception) -> str:
    """The last line of what went wrong: runners put the traceback of a worker into the message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line and not line.startswith(("File ", "raise "))]
    return (errors or lines or [type(error).__name__])[-1].replace("\\n", " ")[:300]


def _imported(name: str = "") -> Any:
    """Apache Beam, or a module of it."""
    import importlib

    level = logging.root.level
    try:
        logging.root.setLevel(logging.ERROR)  # it warns of parts for Google's cloud that nobody asked for
        return importlib.import_module(f"apache_beam.{name}" if name else "apache_beam")
    except ImportError:
        raise UserError("--engine=beam takes Apache Beam: pip install 'lfm_jax[beam]'") from None
    finally:
        logging.root.setLevel(level)
