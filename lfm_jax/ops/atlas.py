"""Windows cut from an atlas: many images side by side in one array on the device.

A window is one slice of contiguous rows, so there is no gather over pixels, which is serial on a TPU. An atlas is stored with the
three colours of a pixel side by side in its rows, [rows, 3 columns]: as a third axis a TPU would pad them to 128.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec


def windows(atlas: jax.Array, places: jax.Array, height: int, width: int) -> jax.Array:
    """Windows of one size, uint8 [N, height, width, 3].

    Args:
      atlas: uint8 [rows, 3 columns].
      places: int32 [N, 3], the row and column where each begins, and 1 where it is to be flipped horizontally. Each must lie within
        the atlas.
    """

    def window(place: jax.Array) -> jax.Array:
        part = lax.dynamic_slice(atlas, (place[0], 3 * place[1]), (height, 3 * width)).reshape(height, width, 3)
        return jnp.where(place[2] == 1, part[:, ::-1], part)

    return jax.vmap(window)(places)


def split_windows(atlas: jax.Array, places: jax.Array, height: int, width: int, *, mesh: Mesh, axis: int = 0) -> jax.Array:
    """The windows of a batch that is split over the devices of a mesh along `axis`; to be called in a program.

    An atlas in one shard is on every device, which cuts its own windows. Of an atlas with a shard for each device, a device
    cuts for all of them what it has, and they add up what they get: all bytes of the batch pass each device once.

    Args:
      atlas: uint8 [shards, rows, 3 columns].
      places: int32 [..., 4], a shard before the three numbers that `windows` takes.

    Returns:
      uint8 [..., height, width, 3].
    """
    is_split = atlas.shape[0] > 1
    (name,) = mesh.axis_names

    def cut(shard: jax.Array, own: jax.Array) -> jax.Array:
        flat = own.reshape(-1, 4)
        if not is_split:
            images = windows(shard[0], flat[:, 1:], height, width)
        else:
            wanted = lax.all_gather(flat, name)
            here = wanted[..., 0] == lax.axis_index(name)
            starts = jnp.where(here[..., None], wanted[..., 1:], 0).reshape(-1, 3)
            parts = windows(shard[0], starts, height, width).reshape(*here.shape, height, width, 3)
            images = lax.psum_scatter(jnp.where(here[..., None, None, None], parts, 0), name)
        return images.reshape(*own.shape[:-1], height, width, 3)

    of_batch = PartitionSpec(*[None] * axis, name)
    of_atlas = PartitionSpec(name) if is_split else PartitionSpec()
    return jax.shard_map(cut, mesh=mesh, in_specs=(of_atlas, of_batch), out_specs=of_batch)(atlas, places)
