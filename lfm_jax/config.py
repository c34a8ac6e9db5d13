"""Every configuration field with its default and one line of reason; presets in configs/ change some.

In: overrides from a preset file or the command line (ml_collections). Out: a checked ConfigDict.
It lives in the package, not in configs/, so that a preset file anywhere on disk can import it.
"""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ml_collections import ConfigDict, config_dict

from lfm_jax.data import augmentations, synthetic
from lfm_jax.data.sources import SOURCES
from lfm_jax.errors import ConfigError, UserError

# Fields that a resumed run may have otherwise: they change how long, how fast or where, not what is computed.
MAY_CHANGE = (
    "steps",
    "epochs",
    "init_from",
    "checkpoint.",
    "eval.",
    "log_every_steps",
    "profile_steps",
    "shard_state",
    "model.remat",
    "data.root",
    "data.test_root",
    "data.threads",
    "data.prefetch",
    "data.cache_mib",
    "data.timeout_seconds",
    "data.max_broken_share",
)


def base() -> ConfigDict:
    """The defaults: the method as the paper describes it (preset `paper`), data and length still to be set."""
    config = ConfigDict()
    config.seed = 0  # every random draw derives from it
    config.steps = config_dict.placeholder(int)  # length of the run; where set, it wins over epochs
    config.epochs = config_dict.placeholder(float)  # length of the run in passes over the training split
    config.batch_size = 32  # global: over all devices and processes
    config.accumulate = 1  # parts of a batch that pass one after another, to save memory; BatchNorm sees a part at a time
    config.shard_state = False  # split parameters and optimizer over the devices too; worth it for networks far larger than LFM
    config.init_from = ""  # weights to start from: .pth, .safetensors, workdir or checkpoint; "" is from scratch
    config.model = model()
    config.data = data()
    config.optim = optim()
    config.label_smoothing = 0.0  # targets s / 2 and 1 - s / 2 in place of 0 and 1; 0 off
    config.consistency = 0.0  # weight of the disagreement between two random views of each image; doubles a step's cost; 0 off
    config.average_decay = 0.0  # of a moving average of weights and BatchNorm statistics, which is what is evaluated; 0 off
    config.freeze_bn_after_steps = -1  # from here BatchNorm uses its running averages, rank dropout off; -1 never
    config.checkpoint = checkpoint()
    config.eval = ConfigDict()
    config.eval.every_steps = 1000  # validation, and with it the choice of the best checkpoint
    config.eval.batch_size = 32  # images of 256 px at once; larger ones in smaller batches
    config.eval.protocol = "resize256_crop224"  # of validation and of the closing test
    config.eval.predict_protocol = "crop256"  # goes into the weights' card: what predict uses unless told otherwise
    config.eval.test = True  # score the test split when training ends, with the best weights and with the last
    config.log_every_steps = 50  # a metrics line; the host waits for the device only then
    config.profile_steps = (0, 0)  # trace these steps (from, up to) into WORKDIR/profile, for TensorBoard or Perfetto
    return config.lock()


def checkpoint() -> ConfigDict:
    """When to save what to resume from. A run told to stop (SIGTERM) saves as well."""
    config = ConfigDict()
    config.every_steps = 1000  # from one to the next
    config.every_minutes = 0.0  # also when so long has gone by, looked at where a metrics line is due; 0 never
    config.keep = 2  # the newest; the val-best is kept apart
    return config


def model() -> ConfigDict:
    """The network. Defaults are LFM's (SPEC section 1), regularisers those of the paper (section 2)."""
    config = ConfigDict()
    config.backbone = "snet"  # or ResNet-50's stages: npr (3 x 3 stem; two stages are NPR's), resnet50 (7 x 7 stem)
    config.widths = (64, 128, 256, 512)  # of the backbone's blocks; of a ResNet's stages, as many as there are
    config.maps = 64  # evidence maps after the 1 x 1 projection; 0 none, the backbone's channels are pooled
    # NPR: signed, 2/3; none: plain pixels. factor: side of a block in px; anchor: its pixel (row, column) that is taken away.
    config.residual = ConfigDict({"kind": "abs", "scale": 1.0, "factor": 2, "anchor": (0, 0)})
    # topk; or random: k drawn positions. max, mean, attention: one value a map, k unused. k_share, of topk and random: this
    # share of an image's positions, averaged down to k groups of ranks, so that k fits images of any size; 0: k positions.
    config.pooling = ConfigDict({"kind": "topk", "k": 16, "k_share": 0.0})
    config.head = ConfigDict({"kind": "linear", "hidden": 64})  # linear, or mlp with `hidden` units
    # release: the released line comes out as a constant 0.1, p_max = p_min. p_max = 0 turns it off.
    config.rank_dropout = ConfigDict({"p_min": 0.1, "p_max": 0.3, "drop_most": "largest"})
    # release: off (aux_weight 0), and ascending where it is used.
    config.random_k = ConfigDict({"aux_weight": 0.02, "order": "descending"})
    config.mean = (0.485, 0.456, 0.406)  # ImageNet's, on RGB in [0, 1]
    config.std = (0.229, 0.224, 0.225)  # as the mean
    config.compute_dtype = "float32"  # or bfloat16; parameters, statistics and logits stay float32
    config.remat = False  # compute the blocks' activations again in the backward pass: slower, less memory
    return config


def data() -> ConfigDict:
    """Where images come from and what happens to them before the network."""
    config = ConfigDict()
    config.source = "folder"  # folder: ROOT/{train,val,test}/GROUP/{0_real,1_fake}; tfds: what `lfm data prepare` made; synthetic
    config.root = ""  # of the folders, or of the prepared data
    config.name = ""  # tfds: which of the prepared data sets, e.g. forensynths; "" where there is one
    config.classes = ""  # only these GROUP folders of train and val, "car,cat"; "" is all of them
    config.test_root = ""  # test suites elsewhere (ROOT/SUITE/GENERATOR/..., or prepared); "" is the test split, if it is there
    config.resize = 256  # bilinear to resize x resize, aspect not kept; 0 leaves the size as it is
    config.crop = 224  # random crop; 0 none (then all images must have one size)
    config.flip = True  # horizontal, half of the time
    config.augment = augmentations.none()  # scale, blur, noise, JPEG, WebP; presets: lfm_jax/data/augmentations.py
    config.threads = 8  # that read and decode ahead
    config.prefetch = 8  # batches ahead, being read or ready; 32 images of 224 px are 4.6 MiB
    config.cache_mib = 0  # of memory a process for images kept from epoch to epoch, resized: 256 KiB each at 256 px; 0 keeps none
    config.timeout_seconds = 0.0  # a training file slower than this counts as broken, and the run is exact no more; 0 waits
    config.max_broken_share = 0.01  # of the training files; more broken ones than this end the run
    config.synthetic = ConfigDict({"side": synthetic.SIDE, **synthetic.SIZES})  # px, images a split
    return config


def optim() -> ConfigDict:
    """Adam and its schedule; defaults are the released recipe (SPEC section 3)."""
    config = ConfigDict()
    config.name = "adam"  # or adamw
    config.lr = 1e-4  # at its highest
    config.lr_scaling = "none"  # or linear, sqrt: lr times (batch_size / base_batch_size), or its root
    config.base_batch_size = 32  # that `lr` was found with
    config.b1, config.b2, config.eps = 0.9, 0.999, 1e-8  # Adam's
    config.weight_decay = 0.0  # adamw only
    config.schedule = "staircase"  # or constant, cosine
    config.warmup_steps = 0  # of a rise from 0 in a line
    config.staircase = ConfigDict()
    config.staircase.factor = 0.9  # by which each step multiplies
    config.staircase.every_epochs = 10.0  # a step
    config.staircase.offset_epochs = 0.0  # release: 1, the loop fires after epochs 11, 21, ...
    config.staircase.floor = 1e-6  # the learning rate goes no lower
    return config


def check(config: ConfigDict) -> None:
    """Raises ConfigError, naming the field, the value and what was expected, for a config that cannot run."""
    if config.steps is None and config.epochs is None:
        raise ConfigError("config.steps and config.epochs are both unset: set one, e.g. --config.epochs=50")
    for field in ("steps", "epochs"):
        if config[field] is not None and config[field] <= 0:
            raise ConfigError(f"config.{field} = {config[field]}: expected a number above 0")
    for field in ("checkpoint.every_steps", "checkpoint.keep", "eval.every_steps", "eval.batch_size", "log_every_steps"):
        if get(config, field) < 1:
            raise ConfigError(f"config.{field} = {get(config, field)}: expected at least 1")
    if config.checkpoint.every_minutes < 0:
        raise ConfigError(f"config.checkpoint.every_minutes = {config.checkpoint.every_minutes}: expected 0 (never) or more")
    for field in ("label_smoothing", "average_decay"):
        if not 0 <= config[field] < 1:
            raise ConfigError(f"config.{field} = {config[field]}: expected 0 (off) or more, below 1")
    if not config.consistency >= 0:
        raise ConfigError(f"config.consistency = {config.consistency}: expected 0 (one view of each image) or more")
    augmentations.check(config.data.augment)
    if config.data.cache_mib < 0:
        raise ConfigError(f"config.data.cache_mib = {config.data.cache_mib}: expected 0 (keep no images) or more")
    if not config.data.timeout_seconds >= 0:
        raise ConfigError(f"config.data.timeout_seconds = {config.data.timeout_seconds}: expected 0 (wait for ever) or more")
    SOURCES.choose(config.data.source)
    if config.data.name and config.data.source != "tfds":
        raise ConfigError(f"config.data.name = {config.data.name!r} is for config.data.source = 'tfds', not {config.data.source!r}")
    if config.data.resize and config.data.crop > config.data.resize:
        raise ConfigError(f"config.data.crop = {config.data.crop} is larger than config.data.resize = {config.data.resize}")


@contextmanager
def blamed(field: str) -> Iterator[None]:
    """A UserError raised inside becomes a ConfigError that names `field`."""
    try:
        yield
    except UserError as error:
        raise ConfigError(f"{field}: {error}") from None


def check_same_run(saved: Mapping[str, Any], config: ConfigDict) -> None:
    """Raises ConfigError listing the fields in which a checkpoint's config differs, those of MAY_CHANGE apart.

    A field younger than the checkpoint had its default there.
    """
    old, new = flatten(base().to_dict()) | flatten(saved), flatten(config.to_dict())
    differ = [
        f"config.{field}: {old.get(field)!r} there, {new.get(field)!r} now"
        for field in sorted(old.keys() | new.keys())
        if not field.startswith(MAY_CHANGE) and old.get(field) != new.get(field)
    ]
    if differ:
        raise ConfigError(
            "the checkpoints in the workdir are of another config; change these back or use another workdir:\n  "
            + "\n  ".join(differ)
        )


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; tuples come out as lists, as they do from JSON."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def get(config: ConfigDict, field: str) -> Any:
    """Value of a dotted field."""
    return functools.reduce(getattr, field.split("."), config)
