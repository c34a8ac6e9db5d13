"""Weights from anywhere to anywhere: .pth, .safetensors, checkpoint directory or workdir.

`load` and `save` choose the format by the path; `convert` is the two together.
"""

import dataclasses
import os
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import ConfigError, WeightsError
from lfm_jax.runtime.storage import AnyPath, Mirror, as_path
from lfm_jax.weights import files
from lfm_jax.weights.card import Card, content_hash
from lfm_jax.weights.layouts import LAYOUTS, Variables
from lfm_jax.weights.state_dict import backbone_of, from_state_dict, sizes_of, to_state_dict

__all__ = ["Weights", "WeightsError", "check_fit", "check_target", "convert", "load", "save"]


class Weights(NamedTuple):
    """Variables {"params", "batch_stats"} as numpy arrays, and the card that says how to use them."""

    variables: Variables
    card: Card


def load(path: str | os.PathLike[str], *, classifier: bool = False) -> Weights:
    """.pth, .safetensors, workdir or checkpoint directory, here or in a bucket -> Weights, checked against their card.

    With `classifier` a ResNet-50 that tells many classes apart (torchvision's, of ImageNet) is taken too, without its head.

    Raises:
      WeightsError: there is nothing there, or it does not fit; the message names each field.
    """
    path = as_path(path)
    if path.is_dir():
        from lfm_jax.weights import checkpoint  # here, as orbax takes half a second to load

        variables, card = checkpoint.load_weights(path)
    elif not path.exists():
        raise WeightsError(f"no weights at {path}")
    else:
        variables, card = _load_file(path)
        classes = sizes_of(variables).classes
        if classes > 1 and not classifier:
            raise WeightsError(
                f"{path} tells {classes} classes apart and is no detector: train one from it, "
                "lfm train --config=configs/resnet50.py --config.init_from=..., which takes all but its last layer"
            )
        if classes > 1:
            del variables["params"]["head"]
            return Weights(variables, card)
    check_fit(variables, card.model_config(), f"{path}: the weights do not fit the model in their card")
    return Weights(variables, dataclasses.replace(card, weights_sha256=content_hash(variables)))


def save(path: str | os.PathLike[str], weights: Weights) -> None:
    """Weights -> .pth or .safetensors by suffix, or a checkpoint directory where there is none.

    Raises:
      WeightsError: the format cannot hold this model, or the target exists as something else.
    """
    check_target(path, weights.card)
    path = as_path(path)
    if path.suffix in files.TORCH_SUFFIXES:
        with Mirror(path.parent) as mirror:
            files.write_torch(mirror.folder / path.name, to_state_dict(weights.variables), weights.card)
    elif path.suffix == ".safetensors":
        with Mirror(path.parent) as mirror:
            files.write_safetensors(mirror.folder / path.name, to_state_dict(weights.variables), weights.card)
    else:
        from lfm_jax.weights import checkpoint  # as above

        checkpoint.save_weights(path, weights.variables, weights.card)


def check_target(path: str | os.PathLike[str], card: Card) -> None:
    """Whether `save` would take the path for weights of this card, before they are there. Raises WeightsError as it does."""
    path = as_path(path)
    if path.suffix in files.TORCH_SUFFIXES:
        _require_published_network(card)
    elif path.suffix == ".safetensors":
        _require_names(card)
    elif path.suffix:
        raise WeightsError(f"cannot write {path}: use .pth, .safetensors, or a name without suffix for a checkpoint")
    else:
        from lfm_jax.weights import checkpoint  # as above

        checkpoint.check_new(path)


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Weights:
    """Read `source`, write `target`; formats by suffix, see `load` and `save`."""
    weights = load(source)
    save(target, weights)
    return weights


def _load_file(path: AnyPath) -> Weights:
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
        variables = from_state_dict(state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    return Weights(variables, card or _card_of_bare_tensors(variables))


def _card_of_bare_tensors(variables: Variables) -> Card:
    """A state dict without a card is taken for the published network of its names; its sizes are in its tensors."""
    config, backbone, sizes = config_lib.model(), backbone_of(variables), sizes_of(variables)
    own = {"backbone": backbone, "widths": sizes.widths, "maps": sizes.maps, "pooling.k": sizes.k}
    config.update_from_flattened_dict({**own, **LAYOUTS[backbone].network})
    return Card(config.to_dict())


def check_fit(variables: Variables, model: ConfigDict, what: str) -> None:
    """Raises WeightsError, listing every tensor that is missing, unexpected or mis-shaped for the model config.

    And where a part that the config names is not there, such as a pooling of the user's own.
    """
    try:
        expected = _shapes(models.abstract_variables(models.build(model)))
    except ConfigError as error:
        raise WeightsError(f"{what}: {error}") from None
    found = _shapes(variables)
    faults = [f"missing {name} {shape}" for name, shape in expected.items() if name not in found]
    faults += [f"unexpected {name} {shape}" for name, shape in found.items() if name not in expected]
    faults += [
        f"mis-shaped {name}: {found[name]}, the model has {shape}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if faults:
        raise WeightsError(f"{what}:\n  " + "\n  ".join(faults))


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _require_names(card: Card) -> None:
    """Every tensor has a row in the table of its network, and frozen kernels are those of this residual."""
    config = card.model_config()
    fits = {
        "head.kind": config.head.kind == "linear",
        "pooling.kind": config.pooling.kind != "attention",
        "residual.factor": config.residual.factor == 2 or not LAYOUTS[config.backbone].frozen,
        "residual.anchor": tuple(config.residual.anchor) == (0, 0) or not LAYOUTS[config.backbone].frozen,
        "maps": config.backbone != "snet" or config.maps > 0,
    }
    for field, fit in fits.items():
        if not fit:
            value = config_lib.get(config, field)
            raise WeightsError(f"model.{field} = {value!r} has no place in the PyTorch key table; keep it as a checkpoint")


def _require_published_network(card: Card) -> None:
    """A .pth carries names only, so other choices must not pass for those that the names stand for."""
    _require_names(card)
    config = card.model_config()
    layout = LAYOUTS[config.backbone]
    for field, value in layout.network.items():
        found = config_lib.get(config, field)
        if (tuple(found) if isinstance(value, tuple) else found) != value:
            raise WeightsError(
                f"model.{field} = {found!r}, but a .pth with the names of {layout.name} is read as {value!r}: "
                "its logits would differ in silence. Use .safetensors, which carries the model config"
            )
