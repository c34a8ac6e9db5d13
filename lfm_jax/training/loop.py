"""Training: the loop around the step, and the closing test.

In: a ConfigDict (`lfm_jax.config.base()` and a preset) and a workdir. Out, in the workdir: config.json,
metrics.jsonl, tensorboard/, checkpoints/{last,best}/, and test/{best,last}/ (see `evaluate`). The same
command again resumes where the last checkpoint left off.
"""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lfm_jax.data.batch import split_into_parts
from lfm_jax.errors import PreemptedError
from lfm_jax.evaluation.cells import data_hash
from lfm_jax.evaluation.evaluate import Evaluation, evaluate_network
from lfm_jax.evaluation.metrics import detection_metrics
from lfm_jax.inference.detector import Detector
from lfm_jax.inference.scoring import score_together
from lfm_jax.report.files import write_files
from lfm_jax.runtime import sharding
from lfm_jax.runtime.distributed import StopNotice, agreed, gather, is_main
from lfm_jax.runtime.progress import progress, say
from lfm_jax.runtime.storage import as_path
from lfm_jax.training import writers
from lfm_jax.training.profiling import StepProfiler
from lfm_jax.training.run import Run, set_up, starting_state
from lfm_jax.training.step import compiled_step
from lfm_jax.training.writers import MetricWriter, NoWriter
from lfm_jax.weights.checkpoint import Checkpoints
from lfm_jax.weights.state import TrainState

PUSH_SECONDS = 30.0


def train_and_evaluate(config: ConfigDict, workdir: str | os.PathLike[str]) -> dict[str, Evaluation]:
    """Run `config` to its end in `workdir` (a folder or gs://BUCKET/FOLDER), resuming what is there.

    Returns the test results of the val-best and of the last weights, {"best": ..., "last": ...}; {} where
    there is no test split.

    Raises:
      UserError: a config field, the data or the weights do not fit; the message names the field.
      FloatingPointError: the loss is not finite; the last good checkpoint is untouched.
    """
    run = set_up(config, as_path(workdir))
    folder = run.files.folder
    folder.mkdir(parents=True, exist_ok=True)
    with run.files, Checkpoints(run.workdir, keep=config.checkpoint.keep) as checkpoints:
        state = starting_state(run, checkpoints)
        if is_main():
            (folder / "config.json").write_text(config.to_json(indent=1) + "\n")
            run.files.pull(writers.METRICS)
        with MetricWriter(folder, step=int(state.step)) if is_main() else NoWriter() as writer, StopNotice() as notice:
            state = fit(run, state, checkpoints, writer, notice)
        return test(run, state, checkpoints)


def train_batches(run: Run, first: int) -> Iterator[dict[str, jax.Array]]:
    """Global batches of the steps from `first` on, on the devices."""
    config, parts = run.config, run.config.accumulate
    own = {"process": jax.process_index(), "processes": jax.process_count()}
    batches = run.pipeline.batches(first, run.steps, config.batch_size, parts=parts, **own)
    batches = (split_into_parts(batch, parts) for batch in batches)
    return sharding.to_devices(batches, sharding.split_batch(run.devices, axis=int(parts > 1)))


def fit(run: Run, state: TrainState, checkpoints: Checkpoints, writer: MetricWriter | NoWriter, notice: StopNotice) -> TrainState:
    """Train from state.step to the end of the run, logging, validating and saving on the way.

    Raises:
      PreemptedError: the run was told to stop, and has saved.
    """
    config, first = run.config, int(state.step)
    step_fn = compiled_step(config, run.model, run.tx, state)
    freeze_at = config.freeze_bn_after_steps if config.freeze_bn_after_steps >= 0 else run.steps
    every = {"log": config.log_every_steps, "validate": config.eval.every_steps, "save": config.checkpoint.every_steps}
    steps = progress(train_batches(run, first), total=run.steps, done=first, what="train", unit="step", lines=False)
    profiler = StepProfiler(config.profile_steps, run.files.folder / "profile")
    unread: dict[int, dict[str, jax.Array]] = {}
    logged, since, saved = first, time.monotonic(), time.monotonic()
    for step, batch in enumerate(steps, start=first + 1):
        profiler.before(step)
        state, unread[step] = step_fn(state, batch, frozen=step > freeze_at)
        profiler.after(step, state)
        stop = notice.after(step)
        due = {what for what, interval in every.items() if step == run.steps or step % interval == 0}
        if due or stop:
            metrics = _finite(unread)
        if "log" in due:
            now = time.monotonic()
            speed = (step - logged) * config.batch_size / (now - since)
            writer.write(step, "train", {**metrics, "lr": float(run.schedule(step - 1)), "images_per_s": round(speed, 2)})
            logged, since = step, now
            if config.checkpoint.every_minutes and agreed(now - saved >= 60 * config.checkpoint.every_minutes):
                due.add("save")
        if "validate" in due:
            keep_if_best(run, state, step, checkpoints, writer)
        # A checkpoint's lines are in the bucket before it is. In between not often: the devices wait meanwhile.
        run.files.push(at_most_every=0 if "save" in due or stop else PUSH_SECONDS)
        if "save" in due or stop:
            checkpoints.save_last(step, state, run.card(step), config.to_dict())
            saved = time.monotonic()
        if stop:
            checkpoints.wait()
            raise PreemptedError(f"told to stop: a checkpoint of step {step} is saved, the same command goes on from there")
    for broken in gather(run.pipeline.broken):
        for path, reason in broken.items():
            say(f"training image left out: {path}: {reason}")
    return state


def keep_if_best(run: Run, state: TrainState, step: int, checkpoints: Checkpoints, writer: MetricWriter | NoWriter) -> None:
    """Score the validation split; keep these weights where its AP (then its loss) is the best so far."""
    detector, eval_config = _detector(run, state, step), run.config.eval
    scored = score_together(detector, run.val_set, eval_config.protocol, batch_size=eval_config.batch_size, what="validate")
    right = [item for item in scored if item.logit is not None]
    labels = [run.val_set.examples[item.index].label for item in right]
    metrics = detection_metrics(labels, [item.logit for item in right])
    writer.write(step, "val", metrics)
    best = checkpoints.best_metrics()
    if not best or _merit(metrics) > _merit(best):
        checkpoints.save_best(step, state, run.card(step), metrics)


def test(run: Run, state: TrainState, checkpoints: Checkpoints) -> dict[str, Evaluation]:
    """Score the test split with the val-best and with the last weights -> files in WORKDIR/test, tables on stdout."""
    if run.test_set is None:
        return {}
    variables, card = checkpoints.best_weights()
    detectors = {"best": Detector(run.model, variables, card), "last": _detector(run, state, run.steps)}
    results: dict[str, Evaluation] = {}
    data_sha256 = data_hash(run.test_set, threads=8)
    for name, detector in detectors.items():
        if results and card.training["steps"] == run.steps:
            if is_main():
                print("\nThe last weights are the best ones.")
            return results | {name: results["best"]}
        evaluation = evaluate_network(detector, run.test_set, [run.config.eval.protocol], batch_size=run.config.eval.batch_size)
        results[name] = evaluation
        if is_main():
            folder = run.files.folder / "test" / name
            write_files(evaluation, [detector], run.test_set, folder, data_sha256=data_sha256)
            print(f"\n{name} weights (step {detector.card.training['steps']}) on {run.test_set.name}\n\n{evaluation.table()}")
            shown = run.workdir / "test" / name
            print(f"\nreport: {shown / 'report.html'}, picture: {shown / 'examples.png'}")
    return results


def _detector(run: Run, state: TrainState, step: int) -> Detector:
    return Detector(run.model, sharding.to_host(state.variables), run.card(step))


def _merit(metrics: Mapping[str, Any]) -> tuple[float, float]:
    return metrics["ap"], -metrics["loss"]


def _finite(unread: dict[int, dict[str, jax.Array]]) -> dict[str, float]:
    """Wait for the metrics of the steps since the last look, and give the newest."""
    for step, metrics in jax.device_get(unread).items():
        values = {name: float(value) for name, value in metrics.items()}
        if not np.isfinite(list(values.values())).all():
            raise FloatingPointError(f"step {step}: {values} is not finite; checkpoints from before it are untouched")
    unread.clear()
    return values
