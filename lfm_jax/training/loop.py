"""The training loop and the test that ends a run.

A run takes a config (`lfm_jax.config.base()` and a preset) and leaves in its workdir config.json, metrics.jsonl, tensorboard/,
checkpoints/{last,best}/ and test/{best,last}/ (see `lfm_jax.report.files`). The same command again resumes from the last
checkpoint.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from lfm_jax.data.batch import split_into_parts
from lfm_jax.errors import PreemptedError, UserError
from lfm_jax.evaluation.cells import data_hash
from lfm_jax.evaluation.evaluate import Evaluation, evaluate_network
from lfm_jax.evaluation.metrics import detection_metrics
from lfm_jax.inference.answers import terminal_width
from lfm_jax.inference.network import Network
from lfm_jax.inference.scoring import score_together
from lfm_jax.report.files import write_files
from lfm_jax.runtime import sharding
from lfm_jax.runtime.distributed import StopNotice, is_main
from lfm_jax.runtime.exchange import agreed, gather, others_waiting
from lfm_jax.runtime.paths import write_whole
from lfm_jax.runtime.progress import progress, say
from lfm_jax.runtime.settings import settled
from lfm_jax.runtime.storage import as_path, locked
from lfm_jax.training import resident, writers
from lfm_jax.training.profiling import StepProfiler
from lfm_jax.training.run import Run, set_up, starting_state
from lfm_jax.training.step import compiled_step
from lfm_jax.training.step_log import StepLog
from lfm_jax.training.writers import MetricWriter, NoWriter
from lfm_jax.weights.checkpoint import Checkpoints
from lfm_jax.weights.state import TrainState

SECONDS_BETWEEN_PUSHES = 30.0  # of metrics to a bucket; the devices wait meanwhile


@settled()
def train_and_evaluate(config: ConfigDict, workdir: str | os.PathLike[str]) -> dict[str, Evaluation]:
    """Train `config` to its end in `workdir`, resuming a run that was begun there, and test it.

    Args:
      workdir: a folder, or gs://BUCKET/FOLDER.

    Returns:
      Test results of the weights that validated best and of the last ones, {"best": ..., "last": ...}; {} without a test split.

    Raises:
      UserError: the config, the data and the weights do not fit together; the message names the field.
      FloatingPointError: the loss is not finite; the last good checkpoint is untouched.
      PreemptedError: the run was told to stop, and has saved.
    """
    run = set_up(config, as_path(workdir))
    folder = run.files.folder
    with run.files, _alone_in(folder), Checkpoints(run.workdir, keep=config.checkpoint.keep) as checkpoints:
        state = starting_state(run, checkpoints)
        if is_main():
            write_whole(folder / "config.json", (config.to_json(indent=1) + "\n").encode())
            run.files.pull(writers.METRICS)
        with MetricWriter(folder, step=int(state.step)) if is_main() else NoWriter() as writer, StopNotice() as notice:
            state = fit(run, state, checkpoints, writer, notice)
            if not checkpoints.best_metrics():  # a finished run whose best checkpoint was damaged
                keep_if_best(run, state, run.steps, checkpoints, writer)
        return final_test(run, state, checkpoints)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Make the workdir, or the local side of one in a bucket, and keep other trainings out of it."""
    refusal = ""
    with ExitStack() as stack:
        try:
            if is_main():
                stack.enter_context(locked(folder, "lfm train"))
        except UserError as error:
            refusal = str(error)
        if refusal := agreed(refusal):  # all processes end, or the others would wait for process 0
            raise UserError(f"--workdir: {refusal}")
        folder.mkdir(parents=True, exist_ok=True)
        yield


def train_batches(run: Run, first: int) -> Iterator[dict[str, jax.Array]]:
    """Global batches on the devices, for every step after the first `first` ones."""
    config, parts = run.config, run.config.accumulate
    axis = int(parts > 1)
    give_images = resident.load(run.pipeline, run.devices, axis=axis) if config.data.resident and first < run.steps else None
    processes = {"process": jax.process_index(), "processes": jax.process_count()}
    batches = run.pipeline.batches(first, run.steps, config.batch_size, parts=parts, **processes)
    in_parts = (split_into_parts(batch, parts) for batch in batches)
    on_devices = sharding.to_devices(in_parts, sharding.split_batch(run.devices, axis=axis))
    return map(give_images, on_devices) if give_images else on_devices


def fit(run: Run, state: TrainState, checkpoints: Checkpoints, writer: MetricWriter | NoWriter, notice: StopNotice) -> TrainState:
    """Train from `state` to the end of the run, with metrics lines, validations and checkpoints where they are due.

    Raises:
      PreemptedError: the run was told to stop, and has saved.
    """
    config, done = run.config, int(state.step)
    step_fn = compiled_step(config, run.model, run.tx, state)
    profiler = StepProfiler(config.profile_steps, run.files.folder / "profile")
    log = StepLog(writer, run.schedule, step=done, batch_size=config.batch_size)
    saved_at = time.monotonic()
    batches = progress(train_batches(run, done), total=run.steps, done=done, what="train", unit="step", lines=False)
    for step, batch in enumerate(batches, start=done + 1):
        profiler.before(step)
        state, metrics = step_fn(state, batch, frozen=run.is_frozen(step))
        profiler.after(step, state)
        log.add(step, metrics)
        stopping = notice.after(step)
        due = run.due(step)
        if due or stopping:
            log.read()
        if "log" in due:
            log.write(step)
        saving = stopping or "save" in due or ("log" in due and _overdue(config.checkpoint.every_minutes, saved_at))
        if "validate" in due:
            keep_if_best(run, state, step, checkpoints, writer)
        # The lines up to a checkpoint reach the bucket before the checkpoint does.
        run.files.push(at_most_every=0 if saving else SECONDS_BETWEEN_PUSHES)
        if saving:
            checkpoints.save_last(step, state, run.card(step), config.to_dict())
            saved_at = time.monotonic()
        if stopping:
            checkpoints.wait()
            raise PreemptedError(f"told to stop: a checkpoint of step {step} is saved, and the same command resumes from it")
    for broken in gather(run.pipeline.broken):
        for path, reason in broken.items():
            say(f"training image left out: {path}: {reason}")
    return state


def keep_if_best(run: Run, state: TrainState, step: int, checkpoints: Checkpoints, writer: MetricWriter | NoWriter) -> None:
    """Score the validation split, and keep these weights if their AP, then their loss, is the best so far."""
    options = run.config.eval
    scored = score_together(
        _network(run, state, step), run.val_set, options.protocol, batch_size=options.batch_size, what="validate"
    )
    logits = {item.index: item.logit for item in scored if item.logit is not None}
    metrics = detection_metrics([run.val_set.examples[index].label for index in logits], list(logits.values()))
    writer.write(step, "val", metrics)
    best = checkpoints.best_metrics()
    if not best or _merit(metrics) > _merit(best):
        checkpoints.save_best(step, state, run.card(step), metrics)


def final_test(run: Run, state: TrainState, checkpoints: Checkpoints) -> dict[str, Evaluation]:
    """Test the weights that validated best and the last ones, write the files in WORKDIR/test, and print the tables."""
    if run.test_set is None:
        return {}
    variables, card = checkpoints.best_weights()
    data_sha256 = data_hash(run.test_set, threads=8)
    best = _test(run, "best", Network(run.model, variables, card), data_sha256)
    if card.training["steps"] == run.steps:
        if is_main():
            print("\nThe last weights are the best ones.")
        return {"best": best, "last": best}
    return {"best": best, "last": _test(run, "last", _network(run, state, run.steps), data_sha256)}


def _test(run: Run, name: str, network: Network, data_sha256: str) -> Evaluation:
    assert run.test_set is not None
    evaluation = evaluate_network(network, run.test_set, [run.config.eval.protocol], batch_size=run.config.eval.batch_size)
    with others_waiting():
        if is_main():
            write_files(evaluation, [network], run.test_set, run.files.folder / "test" / name, data_sha256=data_sha256)
            print(f"\n{name} weights (step {network.card.training['steps']}) on {run.test_set.name}\n")
            print(evaluation.table(terminal_width(sys.stdout)))
            folder = run.workdir / "test" / name
            print(f"\nreport: {folder / 'report.html'}, picture: {folder / 'examples.png'}")
    return evaluation


def _network(run: Run, state: TrainState, step: int) -> Network:
    return Network(run.model, sharding.to_host(state.variables), run.card(step))


def _merit(metrics: Mapping[str, Any]) -> tuple[float, float]:
    return metrics["ap"], -metrics["loss"]


def _overdue(every_minutes: float, saved_at: float) -> bool:
    """Whether the last checkpoint is too old by the clock of process 0, so that all processes save after the same step."""
    return every_minutes > 0 and agreed(time.monotonic() - saved_at >= 60 * every_minutes)
