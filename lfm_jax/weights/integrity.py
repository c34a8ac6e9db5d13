"""Proof that what was saved is what was read: hashes of arrays and JSON, and names of arrays whose values make no sense."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np


def tree_hash(tree: Any) -> str:
    """sha256 of the names, shapes, dtypes and bytes of a tree of host arrays, such as the state of an optimizer."""
    digest = hashlib.sha256()
    for name, array in named_leaves(tree):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()


def json_hash(value: Any) -> str:
    """sha256 of a JSON value. It does not tell a tuple from a list, nor one order of names from another."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def implausible(tree: Any) -> list[str]:
    """Why arrays of a tree cannot be those of a network: values that are not finite, or variances below zero."""
    faults = []
    for name, array in named_leaves(tree):
        if jax.numpy.issubdtype(array.dtype, np.inexact) and not np.isfinite(array.astype(np.float64)).all():
            faults.append(f"{name} has values that are not finite")
        elif "batch_stats/" in name and name.endswith("/var") and (array < 0).any():
            faults.append(f"{name} has variances below zero")
    return faults


def check_hashes(stored: Mapping[str, str], actual: Mapping[str, str]) -> None:
    """Raises ValueError, naming the parts, where a part has another hash than the one stored for it when it was written."""
    changed = [name for name, value in actual.items() if stored.get(name, value) != value]
    if changed:
        raise ValueError(f"{', '.join(changed)} changed since it was written (its sha256 differs)")


def named_leaves(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a tree with their names, such as params/head/kernel."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), np.asarray(leaf)
