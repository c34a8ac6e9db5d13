"""Our variables to PyTorch's state dicts and back, by the one table of each network (see `layouts`).

In and out: {"params", "batch_stats"} as nested dicts of arrays, and a state dict {key: numpy array} with PyTorch's
names, order, layouts (OIHW) and dtypes. numpy only; no PyTorch here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lfm_jax.errors import WeightsError
from lfm_jax.weights.layouts import LAYOUTS, Layout, Row, Sizes, StateDict, Variables, backbone_of_keys

COUNTER = ".num_batches_tracked"


def backbone_of(variables: Variables) -> str:
    """-> `config.model.backbone` that has such variables."""
    stem = variables["params"]["backbone"].get("stem")
    return "snet" if stem is None else "npr" if len(stem["kernel"]) == 3 else "resnet50"


def sizes_of(variables: Variables) -> Sizes:
    """-> the sizes of a network with a linear head."""
    params = variables["params"]
    backbone, (pooled, classes) = params["backbone"], params["head"]["kernel"].shape
    if "stem" in backbone:
        widths = tuple(backbone[name]["conv1"]["kernel"].shape[-1] for name in sorted(backbone) if name.endswith("_block1"))
        channels = 4 * widths[-1]
    else:
        widths = tuple(block["bias"].size for block in backbone.values())
        channels = widths[-1]
    maps = params["project"].shape[1] if "project" in params else 0
    return Sizes(widths, maps, pooled // (maps or channels), classes)


def to_state_dict(variables: Variables) -> StateDict:
    """{"params", "batch_stats"} -> state dict in the order of PyTorch: frozen kernels first, counters int64."""
    layout = LAYOUTS[backbone_of(variables)]
    state = {key: kernel.copy() for key, kernel in layout.frozen.items()}
    for row in layout.rows(sizes_of(variables)):
        array = np.asarray(_get(variables, row.path))
        if row.axes:
            array = array.transpose(row.axes)
        state[row.key] = np.array(array.reshape(row.shape), np.int64 if row.path[-1] == "count" else np.float32, order="C")
    return state


def from_state_dict(state: Mapping[str, np.ndarray]) -> Variables:
    """State dict of any known network -> {"params", "batch_stats"}; sizes are read from the tensors themselves.

    Counters that a ResNet's file lacks altogether, as files of PyTorch before 0.4.1 do, are zeros.

    Raises:
      WeightsError: it is of no known network, keys are missing or unexpected, shapes do not fit together, values are not
        finite, or the frozen kernels are not the fixed ones. All faults are listed at once.
    """
    backbone = backbone_of_keys(state)
    if backbone is None:
        known = ", ".join(f"{layout.name} ({layout.keys})" for layout in LAYOUTS.values())
        raise WeightsError(f"the keys are of no known network: expected those of {known}; found {', '.join(list(state)[:5])}")
    layout = LAYOUTS[backbone]
    rows = layout.rows(layout.sizes(state))
    if backbone != "snet" and not any(key.endswith(COUNTER) for key in state):
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


def _faults(state: Mapping[str, np.ndarray], layout: Layout, rows: list[Row]) -> list[str]:
    shapes = {key: kernel.shape for key, kernel in layout.frozen.items()} | {row.key: row.shape for row in rows}
    faults = [f"missing {key}" for key in shapes if key not in state]
    faults += [f"unexpected {key} {tuple(np.shape(array))}" for key, array in state.items() if key not in shapes]
    if not faults:
        found = {key: tuple(np.shape(state[key])) for key in shapes}
        faults = [f"mis-shaped {key}: {found[key]}, expected {shape}" for key, shape in shapes.items() if found[key] != shape]
    if not faults:
        fixed = (key for key, kernel in layout.frozen.items() if not np.array_equal(state[key], kernel))
        faults = [f"{key} is not the fixed kernel of the NPR residual" for key in fixed]
        faults += [f"{key} has values that are not finite" for key in shapes if not np.isfinite(state[key]).all()]
    return faults


def _get(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _set(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
