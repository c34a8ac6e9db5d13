"""What a training run consists of before its first step: data, network, optimizer, length and starting state."""

import functools
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax
import numpy as np
import optax
from clu import parameter_overview
from jax.sharding import Mesh
from ml_collections import ConfigDict

from lfm_jax import __version__, models
from lfm_jax import config as config_lib
from lfm_jax.data.batch import views_per_image
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Source, listing_of
from lfm_jax.data.sources.open import open_test_split, open_training
from lfm_jax.errors import ConfigError, blamed
from lfm_jax.models import Lfm
from lfm_jax.models.heads import divide_logits
from lfm_jax.runtime import sharding
from lfm_jax.runtime.distributed import require_agreement
from lfm_jax.runtime.progress import say
from lfm_jax.runtime.rng import Stream, step_key
from lfm_jax.runtime.storage import AnyPath, Mirror
from lfm_jax.training import optim
from lfm_jax.training.step import first_state
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.checkpoint import Checkpoints
from lfm_jax.weights.state import TrainState

# What the processes of a run may differ in: where each finds its data, and how it reads.
OF_ONE_HOST = ("data.root", "data.test_root", "data.threads", "data.workers", "data.prefetch", "data.cache_mib", "init_from")


@dataclass(frozen=True)
class Run:
    """The parts of a training run that do not change while it trains.

    Attributes:
      workdir: folder or bucket path that holds the whole run.
      files: local side of the workdir; every file but the checkpoints is written to `files.folder`.
      tx, schedule: the optimizer, and its learning rate by step.
      steps: length of the whole run, steps made before a resume included.
      listing: sha256 of the paths and labels of the training images, in their order.
    """

    config: ConfigDict
    workdir: AnyPath
    files: Mirror
    devices: Mesh
    model: Lfm
    tx: optax.GradientTransformation
    schedule: optax.Schedule
    pipeline: TrainPipeline
    val_set: Source
    test_set: Source | None
    steps: int
    listing: str

    def check_saved(self, config: dict[str, Any], card: dict[str, Any]) -> None:
        """Compare a checkpoint with this run that would resume it.

        Images that were added, removed or renamed since then are only warned of.

        Raises:
          ConfigError: their configs differ in what a resumed run may not change; lists those fields.
        """
        config_lib.check_same_run(config, self.config)
        before, images = card["training"], len(self.pipeline.source.examples)
        if before.get("listing_sha256", self.listing) != self.listing:
            say(
                f"warning: the training images are not those of the checkpoint, {images} now and {before.get('images')} then: "
                "the steps from here on see other images than an uninterrupted run would have"
            )

    def due(self, step: int) -> set[str]:
        """Which of "log", "validate" and "save" follow `step`; after the last step all of them do."""
        config = self.config
        intervals = {"log": config.log_every_steps, "validate": config.eval.every_steps, "save": config.checkpoint.every_steps}
        return {task for task, interval in intervals.items() if step == self.steps or step % interval == 0}

    def is_frozen(self, step: int) -> bool:
        """Whether `step` trains with frozen BatchNorm and without rank dropout."""
        return 0 <= self.config.freeze_bn_after_steps < step

    def card(self, step: int) -> Card:
        """The card of this run's weights after `step` updates."""
        config = self.config
        source = self.pipeline.source
        training = {"data": source.name, "seed": config.seed, "steps": step, "init_from": config.init_from}
        training |= {"images": len(source.examples), "listing_sha256": self.listing}
        if config.average_decay:
            training["average_decay"] = config.average_decay
        return Card(config.model.to_dict(), config.eval.predict_protocol, training=training)


def set_up(config: ConfigDict, workdir: AnyPath) -> Run:
    """Open the data, build the network and the optimizer, and check every field of the config against them.

    Raises:
      UserError: a field cannot be used; the message names it.
    """
    devices = sharding.data_mesh()
    fields = {f"config.{name}": value for name, value in config_lib.flatten(config.to_dict()).items() if name not in OF_ONE_HOST}
    versions = {name: metadata.version(name) for name in ("jax", "flax", "optax", "numpy", "pillow")}
    require_agreement({"lfm_jax": __version__, "--workdir": str(workdir), **fields, **versions}, "what they are to train")
    config_lib.validate(config, devices=devices.size)
    train_set, val_set = open_training(config.data, seed=config.seed)
    test_set = open_test_split(config.data, seed=config.seed) if config.eval.test else None
    splits = {"training": train_set, "validation": val_set, "test": test_set}
    listings = {f"{name} images": listing_of(source) for name, source in splits.items() if source is not None}
    counts = {f"number of {name} images": len(source.examples) for name, source in splits.items() if source is not None}
    require_agreement(counts | listings, "the data they find")
    steps_per_epoch = len(train_set.examples) / config.batch_size
    steps = config.steps or max(round(config.epochs * steps_per_epoch), 1)
    tx, schedule = optim.build(config.optim, steps=steps, steps_per_epoch=steps_per_epoch, batch_size=config.batch_size)
    say(f"{steps} steps of {config.batch_size} images on {devices.size} device(s); an epoch is {steps_per_epoch:.1f} steps")
    return Run(
        config=config,
        workdir=workdir,
        files=Mirror(workdir),
        devices=devices,
        model=models.build(config.model),
        tx=tx,
        schedule=schedule,
        pipeline=TrainPipeline(train_set, config.data, seed=config.seed, views=views_per_image(config)),
        val_set=val_set,
        test_set=test_set,
        steps=steps,
        listing=listings["training images"],
    )


def starting_state(run: Run, checkpoints: Checkpoints) -> TrainState:
    """The newest checkpoint in the workdir; without one, the weights of `config.init_from`; without those, fresh weights.

    Arrays are created on the devices they belong to, on any number of devices and processes.

    Raises:
      UserError: the checkpoint belongs to another config, or the weights do not fit; the message names the fields.
    """
    config = run.config
    abstract = abstract_state(config, run.model, run.tx, run.devices)
    state = checkpoints.restore_last(abstract, run.check_saved)
    if state and int(state.step) > run.steps:
        raise ConfigError(
            f"the run in {run.workdir} is at step {int(state.step)} already, beyond config.steps = {run.steps}: raise it, or use "
            "another workdir"
        )
    if state:
        say(f"resuming at step {int(state.step)}")
        return state
    if config.init_from:
        return _state_from_weights(run, abstract)
    # The program runs once, so compiling is what costs: on a CPU 1.9 s instead of 4.9 s, with the same bits.
    options = {"xla_backend_optimization_level": 1} if run.devices.devices.flat[0].platform == "cpu" else None
    fresh = functools.partial(fresh_state, config, run.model, run.tx)
    state = jax.jit(fresh, out_shardings=sharding.shardings(abstract), compiler_options=options)()
    say(parameter_overview.get_parameter_overview(abstract.params, include_stats=False))
    return state


def _state_from_weights(run: Run, abstract: TrainState) -> TrainState:
    config, shardings = run.config, sharding.shardings(abstract)
    weights = _with_head(config, run.model, weights_io.load(config.init_from, classifier=True))
    weights_io.check_fit(weights.variables, config.model, f"config.init_from = {config.init_from} does not fit config.model")
    variables = weights.variables
    if config.init_temperature != 1:
        with blamed("config.init_temperature"):
            head = divide_logits(variables["params"]["head"], config.init_temperature)
        variables = {**variables, "params": {**variables["params"], "head": head}}
    say(f"starting from {config.init_from}")
    variables = sharding.place(variables, shardings.trained)
    return jax.jit(functools.partial(first_state, config, run.tx), out_shardings=shardings)(variables)


def _with_head(config: ConfigDict, model: Lfm, weights: weights_io.Weights) -> weights_io.Weights:
    """The weights as they are, or, for the trunk of a classifier, with a fresh head drawn from the seed."""
    params = weights.variables["params"]
    if "head" in params:
        return weights
    head = jax.jit(lambda: models.init(model, step_key(config.seed, Stream.INIT))["params"]["head"])()
    say(f"{config.init_from} is a classifier of many classes: its trunk is used and the head starts fresh")
    return weights._replace(variables={**weights.variables, "params": {**params, "head": jax.tree.map(np.asarray, head)}})


def fresh_state(config: ConfigDict, model: Lfm, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step of a run from scratch, a pure function of the seed."""
    return first_state(config, tx, models.init(model, step_key(config.seed, Stream.INIT)))


def abstract_state(config: ConfigDict, model: Lfm, tx: optax.GradientTransformation, devices: Mesh) -> TrainState:
    """The shapes and shardings of `fresh_state`, without computing anything."""
    shapes = jax.eval_shape(functools.partial(fresh_state, config, model, tx))
    return sharding.lay_out(shapes, devices, shard=config.shard_state)
