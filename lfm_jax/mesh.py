"""Devices: one mesh with a `data` axis, parameters replicated over it, batches split along it.

In: arrays on the host. Out: arrays on the devices. The global batch is what the network sees, so
BatchNorm statistics and the loss are those of the global batch on any number of devices.
"""

import collections
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lfm_jax.errors import ConfigError


def data_mesh() -> Mesh:
    """All devices on one axis, "data"."""
    return Mesh(np.asarray(jax.devices()), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh, field: str = "config.batch_size") -> None:
    """Raises ConfigError with the numbers where `batch_size` does not divide over the mesh."""
    if batch_size < 1 or batch_size % mesh.size:
        fits = max(batch_size // mesh.size, 1) * mesh.size
        raise ConfigError(f"{field} = {batch_size} does not divide over {mesh.size} devices: {fits} would")


def to_devices(batches: Iterable[Any], sharding: NamedSharding, *, ahead: int = 2) -> Iterator[Any]:
    """Host batches (this process's part) -> global device batches, `ahead` of them already on their way."""
    queue: collections.deque[Any] = collections.deque()
    for batch in batches:
        queue.append(jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), batch))
        if len(queue) > ahead:
            yield queue.popleft()
    yield from queue
