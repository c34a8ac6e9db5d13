"""The one table between our variables and the released PyTorch state dict, read in both directions.

In and out: {"params", "batch_stats"} as nested dicts of arrays, and a state dict {key: numpy array} with
the released names, order, layouts (OIHW) and dtypes (SPEC section 5). numpy only; no PyTorch here.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lfm_jax.errors import WeightsError

StateDict = dict[str, np.ndarray]
Variables = dict[str, Any]


class Row(NamedTuple):
    """One tensor: PyTorch key, our path, and the transposition from ours to theirs (its inverse comes back)."""

    key: str
    path: tuple[str, ...]
    axes: tuple[int, ...] | None = None  # permutation, ours -> theirs
    shape: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda shape: shape  # after the permutation


HWIO_TO_OIHW = (3, 2, 0, 1)


def table(blocks: int = 4) -> list[Row]:
    """All rows that are learnt or counted, in the order of the released file."""
    rows = []
    for index in range(1, blocks + 1):
        conv, norm = f"cnn.layer{index}.0", f"cnn.layer{index}.1"
        block = ("params", "backbone", f"block{index}")
        stats = ("batch_stats", "backbone", f"block{index}", "norm")
        rows += [
            Row(f"{conv}.weight", (*block, "kernel"), HWIO_TO_OIHW),
            Row(f"{conv}.bias", (*block, "bias")),
            Row(f"{norm}.weight", (*block, "norm", "scale")),
            Row(f"{norm}.bias", (*block, "norm", "bias")),
            Row(f"{norm}.running_mean", (*stats, "mean")),
            Row(f"{norm}.running_var", (*stats, "var")),
            Row(f"{norm}.num_batches_tracked", (*stats, "count")),
        ]
    # "covn1_1" is the released spelling.
    rows.append(Row("covn1_1.weight", ("params", "project"), (1, 0), lambda shape: (*shape, 1, 1)))
    rows.append(Row("fc1.weight", ("params", "head", "kernel"), (1, 0)))
    rows.append(Row("fc1.bias", ("params", "head", "bias")))
    return rows


def frozen_kernels() -> StateDict:
    """The two fixed kernels that make the NPR residual in the released network: top-left pixel, nearest x2."""
    down, up = np.zeros((2, 3, 3, 2, 2), np.float32)
    for channel in range(3):
        down[channel, channel, 0, 0] = 1.0
        up[channel, channel] = 1.0
    return {"downsample_conv.weight": down, "upsample_conv.weight": up}


def to_state_dict(variables: Variables) -> StateDict:
    """{"params", "batch_stats"} -> released state dict: frozen kernels first, counters int64."""
    state = frozen_kernels()
    for row in table(len(variables["params"]["backbone"])):
        array = np.asarray(_get(variables, row.path))
        if row.axes:
            array = array.transpose(row.axes)
        dtype = np.int64 if row.path[-1] == "count" else np.float32
        state[row.key] = np.array(array.reshape(row.shape(array.shape)), dtype, order="C")
    return state


def from_state_dict(state: Mapping[str, np.ndarray]) -> Variables:
    """Released state dict -> {"params", "batch_stats"}; sizes are read from the tensors themselves.

    Raises:
      WeightsError: keys are missing or unexpected, shapes do not fit together, values are not finite, or
        the frozen kernels are not the fixed ones. All faults are listed at once.
    """
    blocks = sum(key.startswith("cnn.layer") and key.endswith(".0.weight") for key in state)
    rows, frozen = table(max(blocks, 1)), frozen_kernels()
    expected = list(frozen) + [row.key for row in rows]
    faults = [f"missing {key}" for key in expected if key not in state]
    faults += [f"unexpected {key} {tuple(array.shape)}" for key, array in state.items() if key not in expected]
    if not faults:
        faults = _shape_faults(state, blocks)
    for key, kernel in frozen.items():
        if not faults and not np.array_equal(state[key], kernel):
            faults.append(f"{key} is not the fixed kernel of the NPR residual")
    faults += [f"{key} has values that are not finite" for key in expected if not faults and not np.isfinite(state[key]).all()]
    if faults:
        raise WeightsError("not the weights of an LFM detector:\n  " + "\n  ".join(faults))
    variables: Variables = {}
    for row in rows:
        array = np.asarray(state[row.key])
        if row.axes:
            array = array.reshape(array.shape[: len(row.axes)]).transpose(np.argsort(row.axes))
        dtype = np.int32 if row.path[-1] == "count" else np.float32
        _set(variables, row.path, np.array(array, dtype, order="C"))
    return variables


def _shape_faults(state: Mapping[str, np.ndarray], blocks: int) -> list[str]:
    """Widths follow from each block's first kernel; every other shape has to agree with them."""
    shapes: dict[str, tuple[int, ...]] = {key: (3, 3, 2, 2) for key in frozen_kernels()}
    width = 3
    for index in range(1, blocks + 1):
        conv, norm = f"cnn.layer{index}.0", f"cnn.layer{index}.1"
        before, width = width, state[f"{conv}.bias"].size
        shapes[f"{conv}.weight"] = (width, before, 2, 2)
        vectors = ("weight", "bias", "running_mean", "running_var")
        shapes |= {f"{conv}.bias": (width,), f"{norm}.num_batches_tracked": ()} | {f"{norm}.{v}": (width,) for v in vectors}
    maps = state["covn1_1.weight"].shape[0]
    shapes["covn1_1.weight"] = (maps, width, 1, 1)
    pooled = max(state["fc1.weight"].size // max(maps, 1), 1)
    shapes |= {"fc1.weight": (1, maps * pooled), "fc1.bias": (1,)}
    return [
        f"mis-shaped {key}: {tuple(state[key].shape)}, expected {shape}"
        for key, shape in shapes.items()
        if tuple(state[key].shape) != shape
    ]


def _get(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _set(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
