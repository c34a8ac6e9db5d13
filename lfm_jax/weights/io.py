"""Weights from anywhere to anywhere: by name, .pth, .safetensors, checkpoint directory or workdir.

`load` and `save` choose the format by the path; `convert` is one after the other.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from lfm_jax import models
from lfm_jax.errors import ConfigError, WeightsError
from lfm_jax.runtime import fields
from lfm_jax.runtime.storage import AnyPath, Mirror, as_path
from lfm_jax.weights import files, named
from lfm_jax.weights.card import Card, content_hash
from lfm_jax.weights.integrity import implausible
from lfm_jax.weights.layouts import LAYOUTS, Variables, layout_of
from lfm_jax.weights.state_dict import classes_of, from_state_dict, published_config, to_state_dict

__all__ = ["Weights", "WeightsError", "check_fit", "check_target", "convert", "load", "save"]


class Weights(NamedTuple):
    """Variables {"params", "batch_stats"} as numpy arrays, and the card that says how to use them."""

    variables: Variables
    card: Card


def load(path: str | os.PathLike[str] | None = None, *, classifier: bool = False) -> Weights:
    """Reads weights, from disk, a bucket or the network, and checks them against their card.

    Args:
      path: a .pth, a .safetensors, a workdir or a checkpoint directory; a name of `weights.named`, where nothing on disk is
        called that; hf://OWNER/NAME; None for the default weights.
      classifier: also take a ResNet-50 that tells many classes apart, such as torchvision's of ImageNet, without its head.

    Raises:
      WeightsError: there is nothing at `path`, or the weights do not fit; the message names each field.
    """
    entry = named.find(path)
    given, path = path, as_path(named.locate(path))
    if path.is_dir():
        from lfm_jax.weights import checkpoint_files  # here, because orbax takes half a second to import

        weights = Weights(*checkpoint_files.load_weights(path))
    elif path.exists() and not path.is_file():
        raise WeightsError(f"{path}: a pipe or a device; expected .pth, .safetensors, a workdir or a checkpoint directory")
    elif path.exists():
        weights = _load_file(path, classifier=classifier)
    else:
        raise WeightsError(f"no weights at {path}{_meant(given)}")
    if classifier and "head" not in weights.variables["params"]:
        return weights
    check_fit(weights.variables, weights.card.model_config(), f"{path}: the weights do not fit the model in their card")
    if faults := implausible(weights.variables):
        raise WeightsError(f"{path}: not usable weights:\n  " + "\n  ".join(faults))
    card = _proven_card(path, weights)
    return Weights(weights.variables, dataclasses.replace(card, licence=card.licence or (entry.licence if entry else "")))


def _meant(given: str | os.PathLike[str] | None) -> str:
    """Which names there are, for what looks like a name."""
    is_name = isinstance(given, str) and given.isprintable() and not {"/", "."} & set(given)
    return f", and no weights of that name: {', '.join(named.entries())}" if is_name else ""


def _proven_card(path: AnyPath, weights: Weights) -> Card:
    """The card with the hash of the weights. Raises WeightsError where it has the hash of others."""
    actual, stored = content_hash(weights.variables), weights.card.weights_sha256
    if stored not in ("", actual):
        raise WeightsError(
            f"{path}: the card belongs to other weights, or the weights are damaged: weights_sha256 is {stored[:12]}... in the "
            f"card, and {actual[:12]}... of the weights"
        )
    return dataclasses.replace(weights.card, weights_sha256=actual)


def save(path: str | os.PathLike[str], weights: Weights) -> None:
    """Writes a .pth or .safetensors by suffix, or a checkpoint directory where there is none.

    A .safetensors holds any network; see `weights.state_dict` for the names of its tensors.

    Raises:
      WeightsError: the format cannot hold this model, the weights do not fit their card, or something else is at `path`.
    """
    check_target(path, weights.card)
    path, config = as_path(path), weights.card.model_config()
    check_fit(weights.variables, config, f"{path}: the weights do not fit the model in their card")
    card = dataclasses.replace(weights.card, weights_sha256=content_hash(weights.variables))
    if not path.suffix:
        from lfm_jax.weights import checkpoint_files  # as above

        checkpoint_files.save_weights(path, weights.variables, card)
        return
    write = files.write_safetensors if path.suffix == ".safetensors" else files.write_torch
    with Mirror(path.parent) as mirror:
        write(mirror.folder / path.name, to_state_dict(weights.variables, models.build(config)), card)


def check_target(path: str | os.PathLike[str], card: Card) -> None:
    """Raises WeightsError where `save` would refuse to write weights of this card to `path`, before there are any."""
    path = as_path(path)
    if path.suffix in files.TORCH_SUFFIXES:
        _require_published_network(path, card.model_config())
    elif path.suffix and path.suffix != ".safetensors":
        raise WeightsError(f"cannot write {path}: use .pth, .safetensors, or a name without suffix for a checkpoint")
    elif not path.suffix:
        from lfm_jax.weights import checkpoint_files  # as above

        checkpoint_files.check_new(path)


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Weights:
    """Reads `source` and writes `target`; the formats follow from the suffixes as in `load` and `save`."""
    weights = load(source)
    save(target, weights)
    return weights


def _load_file(path: AnyPath, *, classifier: bool) -> Weights:
    if path.suffix not in (*files.TORCH_SUFFIXES, ".safetensors"):
        raise WeightsError(f"{path}: expected .pth, .safetensors, a workdir or a checkpoint directory")
    mirror = Mirror(path.parent)
    mirror.pull(path.name, files.card_name(path.name))
    read = files.read_safetensors if path.suffix == ".safetensors" else files.read_torch
    try:
        state, card = read(mirror.folder / path.name)
    except WeightsError as error:
        raise WeightsError(str(error).replace(str(mirror.folder), str(path.parent))) from None
    try:
        if card is not None:
            return Weights(from_state_dict(state, models.build(card.model_config())), card)
        return _bare(state, classifier=classifier)
    except (ConfigError, WeightsError) as error:
        raise WeightsError(f"{path}: {error}") from None


def _bare(state: Mapping[str, Any], *, classifier: bool) -> Weights:
    """A file without a card is taken for the published network that has its keys."""
    variables, classes = from_state_dict(state), classes_of(state)
    if classes > 1 and not classifier:
        raise WeightsError(
            f"this network tells {classes} classes apart and is not a detector; train one from it, all but its last layer: "
            "lfm train --config=configs/resnet50.py --config.init_from=..."
        )
    if classes > 1:
        del variables["params"]["head"]
    return Weights(variables, Card(published_config(state).to_dict()))


def check_fit(variables: Variables, model: ConfigDict, what: str) -> None:
    """Raises WeightsError, beginning with `what`, for variables that are not those of the model config.

    It lists every tensor that is missing, unexpected or mis-shaped. A part that the config names and nobody registered,
    such as a pooling of your own, is an error too.
    """
    try:
        expected = _expected_shapes(models.build(model))
    except ConfigError as error:
        raise WeightsError(f"{what}: {error}") from None
    shapes = _shapes(variables)
    faults = [f"missing {name} {shape}" for name, shape in expected.items() if name not in shapes]
    faults += [f"unexpected {name} {shape}" for name, shape in shapes.items() if name not in expected]
    faults += [
        f"mis-shaped {name}: {shapes[name]}, the model has {shape}"
        for name, shape in expected.items()
        if shapes.get(name, shape) != shape
    ]
    if faults:
        raise WeightsError(f"{what}:\n  " + "\n  ".join(faults))


@functools.lru_cache(maxsize=8)  # tracing a network takes a second, and `convert` asks twice
def _expected_shapes(model: models.Lfm) -> dict[str, tuple[int, ...]]:
    return _shapes(models.abstract_variables(model))


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _require_published_network(path: AnyPath, config: ConfigDict) -> None:
    """A .pth carries names only, so another network must not pass for the one that the names stand for."""
    layout = LAYOUTS.get(config.backbone)
    if layout is not None:
        for field, published in layout.fields.items():
            value = fields.get(config, field)
            if (tuple(value) if isinstance(published, tuple) else value) != published:
                raise WeightsError(
                    f"{path}: model.{field} = {value!r}, but a .pth with the names of {layout.name} is read as {published!r}: "
                    "its logits would silently differ. Use .safetensors, which carries the model config"
                )
    if layout is None or layout_of(models.build(config)) is not layout:
        raise WeightsError(
            f"{path}: a .pth holds published networks only, by their names in PyTorch, and one with model.backbone = "
            f"{config.backbone!r}, model.maps = {config.maps} is not among them. Use .safetensors, which holds any network"
        )
