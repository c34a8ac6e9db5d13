"""The configuration: every field with its default, the reason for it, and the values it may take.

Presets, in configs/ or in your own files, start from `base()` and change fields; the command line changes more with
`--config.FIELD=VALUE`. `validate` is the one check that every command makes of the outcome. The page "Configuration"
of the documentation is made from this file.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from lfm_jax import models
from lfm_jax.data import augmentations, on_device, order, protocols, resident, synthetic
from lfm_jax.data.sources import SOURCES, pixels
from lfm_jax.data.sources.base import parse_labels
from lfm_jax.errors import ConfigError, blamed
from lfm_jax.runtime import sharding
from lfm_jax.runtime.fields import Field, Group, flatten

WIDEST = 65536  # channels of one layer
LARGEST_SIDE = 65536  # px

MODEL = Group(
    backbone=Field(
        "snet", "snet is LFM's; npr (3 x 3 stem; NPR has two stages) and resnet50 (7 x 7 stem) are those of a ResNet-50."
    ),
    widths=Field(
        (64, 128, 256, 512),
        "Channels of the backbone's blocks, or of a ResNet's stages, one number for each.",
        least=1,
        below=WIDEST,
    ),
    maps=Field(
        64,
        "Evidence maps after the 1 x 1 projection; 0 leaves it out, and the backbone's channels are pooled.",
        least=0,
        below=WIDEST,
    ),
    residual=Group(
        kind=Field("abs", "abs feeds the network the absolute residual, signed keeps the sign (NPR), none feeds plain pixels."),
        scale=Field(1.0, "Factor on the residual; NPR's is 2/3."),
        factor=Field(2, "Side of the residual's blocks in px."),
        anchor=Field((0, 0), "Row and column of the pixel that is subtracted from the others of its block.", least=0, length=2),
    ),
    pooling=Group(
        kind=Field("topk", "topk: the k largest values of each map; random: k drawn positions; max, mean, attention: one value."),
        k=Field(16, "Values per map, for topk and random.", least=1, below=1_000_000),
        k_share=Field(
            0.0,
            "For topk and random: pool this share of an image's positions and average it down to k groups of ranks, so that "
            "k fits images of any size. 0 pools k positions.",
            least=0,
        ),
    ),
    head=Group(
        kind=Field("linear", "linear, or mlp for one hidden layer."),
        hidden=Field(64, "Units of that layer.", least=1, below=WIDEST),
    ),
    rank_dropout=Group(
        p_min=Field(
            0.1,
            "Lowest rate, at the other end of the ranks from drop_most. release: also the highest, a constant 0.1.",
            least=0,
            below=1,
        ),
        p_max=Field(0.3, "Highest rate, at the end of the ranks that drop_most names; 0 turns rank dropout off.", least=0, below=1),
        drop_most=Field("largest", "Which end of the ranks is dropped most.", choices=("largest", "smallest")),
    ),
    random_k=Group(
        aux_weight=Field(0.02, "Weight of the auxiliary loss on k randomly drawn positions; 0 turns it off. release: 0.", least=0),
        order=Field("descending", "How the drawn values are sorted. release: ascending.", choices=("descending", "ascending")),
    ),
    mean=Field((0.485, 0.456, 0.406), "Subtracted from RGB values in [0, 1]; ImageNet's mean.", length=3),
    std=Field((0.229, 0.224, 0.225), "What the difference is divided by; ImageNet's standard deviation.", above=0, length=3),
    compute_dtype=Field("float32", "float32 or bfloat16. Parameters, BatchNorm statistics and logits stay float32."),
    remat=Field(False, "Recompute activations in the backward pass: slower, but less memory.", may_change=True),
    kernels=Field(
        True,
        "On NVIDIA GPUs in bfloat16, compute residual and first block in kernels of their own, which move less; False leaves "
        "them to XLA.",
        may_change=True,
    ),
)

DATA = Group(
    source=Field(
        "folder",
        "folder: ROOT/{train,val,test}/GROUP/{0_real,1_fake}; list: ROOT/{train,val,test}.csv; "
        "tfds: what `lfm data prepare` made; synthetic: drawn images.",
    ),
    root=Field("", "Folder of the images, or of the prepared data.", may_change=True),
    name=Field("", 'Which prepared data set to use, e.g. forensynths; "" if there is only one. For tfds.'),
    pixels=Field(
        0,
        "Train on the pixels of this side that `lfm data prepare --pixels` stored: no decoding, and the same bits as with that "
        "resize; 0 decodes the files. For tfds.",
        least=0,
        below=LARGEST_SIDE,
        may_change=True,
    ),
    labels=Field("", 'Names of the label folders where they are not 0_real and 1_fake, e.g. "real:nature,fake:ai".'),
    classes=Field("", 'Train and validate on these GROUP folders only, e.g. "car,cat"; "" takes all of them.'),
    hold_out=Field(
        "",
        'GROUP folders of train to validate on instead, beside the split val if there is one, e.g. "sd35,dalle2". Leaving out one '
        "generator after another tells how well the next one will be seen.",
    ),
    test_root=Field(
        "",
        'Test suites kept elsewhere, ROOT/SUITE/GENERATOR/... or prepared; "" takes the test split, if there is one.',
        may_change=True,
    ),
    resize=Field(
        256, "Resize to a square of this side, bilinear, ignoring the aspect; 0 keeps the size.", least=0, below=LARGEST_SIDE
    ),
    crop=Field(224, "Side of a random crop; 0 takes no crop, and all images must have one size.", least=0, below=LARGEST_SIDE),
    flip=Field(True, "Flip half of the images horizontally."),
    augment=augmentations.FIELDS,
    augment_on=Field(
        on_device.HOST,
        "host, or device: crop, flip and degrade inside the training step, with the same draws, so that the host only decodes. "
        "Takes a crop, no WebP, and images that are degraded after the resize or not resized.",
        choices=(on_device.HOST, on_device.DEVICE),
    ),
    resident=Field(
        False,
        "Read all training images once and keep them on the devices, on each one or split over them; crop and flip there, with the "
        "same draws. The bits are the same. Degradations need augment_on device; cache_mib is not used.",
        may_change=True,
    ),
    balance=Field(
        "none",
        "none: each image once an epoch. class: a real and a fake in turn, drawn with replacement. source: the same, from the "
        "sources of each class in proportion to the square root of their size. format: the same, each file format as often for one "
        "class as for the other; formats that one class lacks are left out.",
        choices=order.BALANCES,
    ),
    shuffle=Field(
        "permutation",
        "How each image comes once an epoch, for balance none. permutation: 4 bytes per image in every process. grain: computed "
        "place by place in constant memory, for tens of millions of images; another order.",
        choices=order.SHUFFLES,
    ),
    aligned=Group(
        share=Field(0.0, "Share of the positions taken by pairs of a photograph and its aligned fake; 0 is off.", least=0, most=1),
        root=Field(
            "",
            "Folder of those fakes, as `lfm data align` made them from the training split; of several, separated by commas, each "
            "pair draws one that has a fake of its photograph.",
            may_change=True,
        ),
        augment=augmentations.FIELDS,
    ),
    threads=Field(8, "Threads that read and decode ahead.", least=1, may_change=True),
    workers=Field(
        0,
        "Processes that share these threads and make whole batches, for hosts where one process cannot feed the devices; 0 reads "
        "in the process that trains. The images are the same to the bit.",
        least=0,
        may_change=True,
    ),
    prefetch=Field(8, "Batches to keep ready or in the making; 32 images of 224 px take 4.6 MiB.", least=1, may_change=True),
    cache_mib=Field(
        0,
        "Memory per process for resized images kept between epochs: 256 KiB each at 256 px; 0 keeps none.",
        least=0,
        may_change=True,
    ),
    timeout_seconds=Field(
        0.0,
        "A training file that takes longer counts as broken, and the run is no longer exactly repeatable; 0 waits.",
        least=0,
        may_change=True,
    ),
    max_broken_share=Field(
        0.01, "Stop the run when more than this share of the training files is broken.", least=0, may_change=True
    ),
    synthetic=Group(
        side=Field(synthetic.SIDE, "Side of the drawn images in px.", least=1, below=LARGEST_SIDE),
        train=Field(synthetic.SIZES["train"], "Images in the training split.", least=1),
        val=Field(synthetic.SIZES["val"], "Images in the validation split.", least=1),
        test=Field(synthetic.SIZES["test"], "Images in the test split.", least=0),
    ),
)

OPTIM = Group(
    name=Field("adam", "adam or adamw.", choices=("adam", "adamw")),
    lr=Field(1e-4, "Learning rate at its highest.", above=0),
    lr_scaling=Field(
        "none", "linear multiplies lr by batch_size / base_batch_size, sqrt by its square root.", choices=("none", "linear", "sqrt")
    ),
    base_batch_size=Field(32, "The batch size that lr was found with.", least=1),
    b1=Field(0.9, "Adam's decay of the mean of gradients.", least=0, below=1),
    b2=Field(0.999, "Adam's decay of the mean of their squares.", least=0, below=1),
    eps=Field(1e-8, "Adam's addend to the denominator.", above=0),
    weight_decay=Field(0.0, "For adamw only.", least=0),
    schedule=Field(
        "staircase", "How the learning rate falls: staircase, constant or cosine.", choices=("staircase", "constant", "cosine")
    ),
    warmup_steps=Field(0, "Steps of a linear warm-up: step s takes lr (s + 1) / (warmup_steps + 1), counting from 0.", least=0),
    staircase=Group(
        factor=Field(0.9, "Factor on the learning rate at each drop.", above=0),
        every_epochs=Field(10.0, "Epochs between drops.", above=0),
        offset_epochs=Field(0.0, "Delay of all drops. release: 1, because its loop drops after epochs 11, 21, ...", least=0),
        floor=Field(1e-6, "The learning rate never falls below this.", least=0),
    ),
)

CHECKPOINT = Group(
    may_change=True,
    every_steps=Field(1000, "Steps between checkpoints. A run told to stop (SIGTERM) saves one as well.", least=1),
    every_minutes=Field(0.0, "Also save when this much time has passed, checked at each metrics line; 0 never.", least=0),
    keep=Field(2, "How many of the newest to keep; the best on validation is kept apart.", least=1),
)

EVAL = Group(
    may_change=True,
    every_steps=Field(1000, "Steps between validations, which choose the best checkpoint.", least=1),
    batch_size=Field(32, "Images of 256 px at once; larger ones go in smaller batches.", least=1),
    protocol=Field("resize256_crop224", "Protocol of validation and of the final test."),
    predict_protocol=Field("crop256", "Written to the weights' card: what `lfm predict` uses unless told otherwise."),
    test=Field(True, "Score the test split when training ends, with the best weights and with the last."),
)

BASE = Group(
    seed=Field(0, "Seed of every random draw.", least=0, below=2**63),
    steps=Field(None, "Length of the run; takes precedence over epochs.", kind=int, above=0, may_change=True),
    epochs=Field(None, "Length of the run in passes over the training split.", kind=float, above=0, may_change=True),
    batch_size=Field(32, "Images per step, over all devices and processes.", least=1, below=2**24),
    accumulate=Field(1, "Pass a batch in this many parts, to save memory; BatchNorm sees one part at a time.", least=1),
    shard_state=Field(
        False,
        "Split parameters and optimizer state over the devices too; pays off for networks far larger than LFM.",
        may_change=True,
    ),
    init_from=Field(
        "", 'Weights to start from: .pth, .safetensors, workdir or checkpoint; "" starts from scratch.', may_change=True
    ),
    init_temperature=Field(
        1.0,
        "Divide the logits of init_from by this before the first step: weights that are sure of their mistakes lose what they "
        "know while they unlearn those.",
        above=0,
        may_change=True,
    ),
    model=MODEL,
    data=DATA,
    optim=OPTIM,
    label_smoothing=Field(0.0, "s: targets s / 2 and 1 - s / 2 instead of 0 and 1; 0 is off.", least=0, below=1),
    consistency=Field(
        0.0, "Weight of the disagreement between two random versions of each image; doubles a step's cost; 0 is off.", least=0
    ),
    average_decay=Field(
        0.0,
        "Decay of a moving average of weights and BatchNorm statistics, which is then what is evaluated; 0 is off.",
        least=0,
        below=1,
    ),
    freeze_bn_after_steps=Field(
        -1, "After this many steps BatchNorm uses its running averages and rank dropout is off; -1 never.", least=-1
    ),
    checkpoint=CHECKPOINT,
    eval=EVAL,
    log_every_steps=Field(
        50, "Steps between metrics lines; only then does the host wait for the device.", least=1, may_change=True
    ),
    profile_steps=Field(
        (0, 0),
        "Trace these steps (from, up to) into WORKDIR/profile, for TensorBoard or Perfetto.",
        least=0,
        length=2,
        may_change=True,
    ),
)


def base() -> ConfigDict:
    """The defaults: the method as the paper describes it (LFM, BMVC 2025, arXiv 2508.17029), data and length not yet set."""
    return BASE.config().lock()


def model() -> ConfigDict:
    """The defaults of `config.model`."""
    return MODEL.config()


def data() -> ConfigDict:
    """The defaults of `config.data`."""
    return DATA.config()


def optim() -> ConfigDict:
    """The defaults of `config.optim`: the released code's recipe, without its delayed first drop."""
    return OPTIM.config()


def checkpoint() -> ConfigDict:
    """The defaults of `config.checkpoint`."""
    return CHECKPOINT.config()


def validate(config: ConfigDict, *, devices: int | None = None) -> None:
    """Check everything that a config alone can tell, before any data is opened.

    Args:
      config: all of it, as `base()` gives it.
      devices: how many devices the batch is split over, if that is known.

    Raises:
      ConfigError: the config cannot run. Names the field, its value and what was expected.
    """
    BASE.check(config)
    if config.steps is None and config.epochs is None:
        raise ConfigError("config.steps and config.epochs are both unset: set one, e.g. --config.epochs=50")
    if config.init_temperature != 1 and not config.init_from:
        raise ConfigError(f"config.init_temperature = {config.init_temperature} has no logits to divide: set config.init_from")
    _check_data(config.data)
    for field in ("protocol", "predict_protocol"):
        with blamed(f"config.eval.{field}"):
            protocols.parse(config.eval[field])
    network = models.build(config.model)
    if config.data.crop:
        with blamed("config.data.crop"):
            network.require_size(config.data.crop, config.data.crop)
    if devices is not None:
        sharding.check_batch_size(config.batch_size, devices, accumulate=config.accumulate)


def _check_data(config: ConfigDict) -> None:
    """Check which fields of `config.data` go together. Raises ConfigError naming them."""
    SOURCES.choose(config.source)
    if config.name and config.source != "tfds":
        raise ConfigError(f"config.data.name = {config.name!r} is for config.data.source = 'tfds', not {config.source!r}")
    pixels.check(config)
    parse_labels(config.labels, field="config.data.labels")
    if config.labels and config.source in ("tfds", "synthetic") and not config.test_root:
        raise ConfigError(f"config.data.labels = {config.labels!r} is for folders and lists, not {config.source!r}")
    if config.resize and config.crop > config.resize:
        raise ConfigError(f"config.data.crop = {config.crop} is larger than config.data.resize = {config.resize}")
    if config.workers and config.cache_mib:
        raise ConfigError(
            f"config.data.workers = {config.workers} processes would each keep other images: set config.data.cache_mib = 0"
        )
    augmentations.check(config.augment, "config.data.augment")
    augmentations.check(config.aligned.augment, "config.data.aligned.augment")
    on_device.check(config)
    resident.check(config)


def check_model(config: ConfigDict) -> None:
    """Check every field of a model config, and that the network can be built. Raises ConfigError naming the field."""
    MODEL.check(config, "config.model.")
    models.build(config)


def check_same_run(saved: Mapping[str, Any], config: ConfigDict) -> None:
    """Compare the config of a checkpoint with the one that would resume it.

    A field added since the checkpoint was written counts as having had its default.

    Raises:
      ConfigError: they differ in fields that a resumed run may not change; lists those fields with both values.
    """
    old, new = flatten(base().to_dict()) | flatten(saved), flatten(config.to_dict())
    differences = [
        f"config.{field}: {old.get(field)!r} there, {new.get(field)!r} now"
        for field in sorted(old.keys() | new.keys())
        if old.get(field) != new.get(field) and not BASE.lets_change(field)
    ]
    if differences:
        raise ConfigError(
            "the checkpoints in the workdir were made with another config; change these fields back or use another workdir:\n  "
            + "\n  ".join(differences)
        )
