"""Our variables as the flat tensors of a weight file, and back.

Variables are {"params", "batch_stats"} as nested dicts of arrays. The tensors of the published networks have PyTorch's names,
order, axes (OIHW) and dtypes, by the tables in `weights.layouts`. Any other network keeps our own names, axes and dtypes: the
path of each tensor, such as "params/backbone/Conv_0/kernel" or "batch_stats/backbone/norm/mean". The network says which of
the two applies; only a bare PyTorch file, which comes without a card, is told by its keys.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from lfm_jax import config as config_lib
from lfm_jax.errors import WeightsError
from lfm_jax.models import Lfm
from lfm_jax.weights.layouts import LAYOUTS, Layout, Row, StateDict, Variables, backbone_of_keys, layout_of, sizes_of

COUNTER = ".num_batches_tracked"


def to_state_dict(variables: Variables, model: Lfm) -> StateDict:
    """The variables of `model` as flat tensors.

    A published network's come in PyTorch's order, frozen kernels first, and with its int64 counters.
    """
    layout = layout_of(model)
    if layout is None:
        return _own_names(variables)
    state = {key: kernel.copy() for key, kernel in layout.frozen.items()}
    for row in layout.rows(sizes_of(model)):
        array = np.asarray(_get(variables, row.path))
        if row.axes:
            array = array.transpose(row.axes)
        state[row.key] = np.array(array.reshape(row.shape), np.int64 if row.path[-1] == "count" else np.float32, order="C")
    return state


def from_state_dict(state: Mapping[str, np.ndarray], model: Lfm | None = None) -> Variables:
    """Flat tensors -> the variables of `model`; without one, of the published network whose keys and sizes they have.

    A ResNet file without any counters, as PyTorch wrote them before 0.4.1, gets zeros for them.

    Raises:
      WeightsError: the network is unknown, keys are missing or unexpected, shapes do not fit together, values are not
        finite, or the frozen kernels are not the fixed ones. All faults are listed at once.
    """
    layout = _layout_of_keys(state) if model is None else layout_of(model)
    if layout is None:
        return _from_own_names(state)
    rows = layout.rows(layout.sizes(state) if model is None else sizes_of(model))
    if not layout.frozen and not any(key.endswith(COUNTER) for key in state):
        state = {**state, **{row.key: np.array(0) for row in rows if row.key.endswith(COUNTER)}}
    if faults := _faults(state, layout, rows):
        raise WeightsError(f"not the weights of {layout.name}:\n  " + "\n  ".join(faults))
    variables: Variables = {}
    for row in rows:
        array = np.asarray(state[row.key])
        if row.axes:
            array = array.reshape(array.shape[: len(row.axes)]).transpose(np.argsort(row.axes))
        _set(variables, row.path, np.array(array, np.int32 if row.path[-1] == "count" else np.float32, order="C"))
    return variables


def published_config(state: Mapping[str, np.ndarray]) -> ConfigDict:
    """The model config of a bare PyTorch file: that of the published network with its keys, at the sizes of its tensors."""
    layout = _layout_of_keys(state)
    sizes, config = layout.sizes(state), config_lib.model()
    config.backbone, config.widths, config.maps, config.pooling.k = backbone_of_keys(state), sizes.widths, sizes.maps, sizes.k
    config.update_from_flattened_dict(layout.fields)
    return config


def classes_of(state: Mapping[str, np.ndarray]) -> int:
    """How many classes a bare PyTorch file tells apart; a detector has one logit."""
    return _layout_of_keys(state).sizes(state).classes


def _layout_of_keys(state: Mapping[str, np.ndarray]) -> Layout:
    backbone = backbone_of_keys(state)
    if backbone is None:
        known = ", ".join(f"{layout.name} ({layout.keys})" for layout in LAYOUTS.values())
        raise WeightsError(f"no known network has these keys: expected those of {known}; found {', '.join(list(state)[:5])}")
    return LAYOUTS[backbone]


def _faults(state: Mapping[str, np.ndarray], layout: Layout, rows: list[Row]) -> list[str]:
    expected = {key: kernel.shape for key, kernel in layout.frozen.items()} | {row.key: row.shape for row in rows}
    faults = [f"missing {key}" for key in expected if key not in state]
    faults += [f"unexpected {key} {tuple(np.shape(array))}" for key, array in state.items() if key not in expected]
    if not faults:
        shapes = {key: tuple(np.shape(state[key])) for key in expected}
        faults = [f"mis-shaped {key}: {shapes[key]}, expected {shape}" for key, shape in expected.items() if shapes[key] != shape]
    if not faults:
        changed = (key for key, kernel in layout.frozen.items() if not np.array_equal(state[key], kernel))
        faults = [f"{key} is not the fixed kernel of the NPR residual" for key in changed] + _not_finite(state)
    return faults


def _not_finite(state: Mapping[str, np.ndarray]) -> list[str]:
    return [f"{key} has values that are not finite" for key, array in state.items() if not np.isfinite(array).all()]


def _own_names(tree: Mapping[str, Any], prefix: str = "") -> StateDict:
    state: StateDict = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            state |= _own_names(value, f"{prefix}{name}/")
        else:
            state[prefix + name] = np.array(value, order="C")
    return state


def _from_own_names(state: Mapping[str, np.ndarray]) -> Variables:
    if faults := _not_finite(state):
        raise WeightsError("not usable weights:\n  " + "\n  ".join(faults))
    variables: Variables = {"params": {}, "batch_stats": {}}
    for key, array in state.items():
        _set(variables, tuple(key.split("/")), np.array(array, order="C"))
    return variables


def _get(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _set(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise WeightsError(f"{'/'.join(path)} would lie inside another tensor")
    tree[path[-1]] = value
