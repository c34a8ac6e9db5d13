"""How arrays lie on the devices: one mesh with a `data` axis, batches split along it, training state replicated or split.

The network always sees the global batch, so BatchNorm statistics and the loss are the same on any number of devices.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lfm_jax.errors import ConfigError

NAMED_COUNTS = 3  # of devices that would fit, in a message


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of these devices, or of all devices of all processes, with one axis, "data".

    Devices are ordered by process, so that row i of a global batch lies with the process that read it, in whatever order
    the runtime lists them.
    """
    ordered = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(ordered), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding that puts the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh, *, axis: int = 0) -> NamedSharding:
    """The sharding that splits an array along `axis` over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def lay_out(shapes: Any, mesh: Mesh, *, shard: bool) -> Any:
    """Add shardings to a tree of shapes: replicated, or with `shard` split along the longest axis that divides evenly."""

    def placed(leaf: Any) -> jax.ShapeDtypeStruct:
        fits = [axis for axis, side in enumerate(leaf.shape) if shard and side and side % mesh.size == 0]
        longest = max(fits, key=lambda axis: leaf.shape[axis], default=None)
        sharding = replicated(mesh) if longest is None else split_batch(mesh, axis=longest)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(placed, shapes)


def shardings(tree: Any) -> Any:
    """The shardings of a tree of arrays, or of shapes that have one."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def place(tree: Any, shardings: Any) -> Any:
    """Put host arrays, identical on every process, on the devices with these shardings."""

    def put(array: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree, shardings)


def to_host(tree: Any) -> Any:
    """Gather device arrays, split over any processes or not, as whole numpy arrays on every process."""

    def whole(array: Any) -> Any:
        if isinstance(array, jax.Array) and not array.is_fully_replicated:
            return jax.jit(lambda x: x, out_shardings=replicated(array.sharding.mesh))(array)  # type: ignore[attr-defined]
        return array

    return jax.tree.map(np.asarray, jax.tree.map(whole, tree))


def check_batch_size(batch_size: int, devices: int, *, accumulate: int = 1) -> None:
    """Raises ConfigError, with the batch and the numbers of devices that would do, unless a batch's parts split evenly."""
    if accumulate < 1:
        raise ConfigError(f"config.accumulate = {accumulate}: expected at least 1")
    shares = devices * accumulate
    if batch_size < 1 or batch_size % shares:
        among = f"{devices} devices" + (f" x config.accumulate = {accumulate}" if accumulate > 1 else "")
        nearest = max(batch_size // shares, 1) * shares
        fitting = [count for count in range(devices - 1, 1, -1) if batch_size > 0 and batch_size % (count * accumulate) == 0]
        fewer = f", or run it on {' or '.join(map(str, fitting[:NAMED_COUNTS]))} devices" if fitting else ""
        raise ConfigError(f"config.batch_size = {batch_size} does not divide over {among}: {nearest} would{fewer}")


def to_devices(batches: Iterable[Any], sharding: NamedSharding, *, ahead: int = 2) -> Iterator[Any]:
    """Turn this process's parts of batches into global batches on the devices, copying `ahead` of them in advance."""
    queue: collections.deque[Any] = collections.deque()
    copies = (jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a), batch) for batch in batches)
    queue.extend(itertools.islice(copies, ahead))
    for batch in copies:
        queue.append(batch)
        yield queue.popleft()
    yield from queue
