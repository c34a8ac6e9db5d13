"""Heads: Flax modules that turn pooled values [B, M, K] into logits [B].

A head declares whether it is `linear`: the logit is then its parameter `bias` [1] plus one weight times each value, and
`lfm explain` can take it apart.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lfm_jax.errors import UserError
from lfm_jax.models.layers import torch_uniform
from lfm_jax.ops.conv import conv1x1


class LinearHead(nn.Module):
    """One weight per (map, rank) and a bias; the values are flattened map by map."""

    linear = True

    @nn.compact
    def __call__(self, values: jax.Array) -> jax.Array:
        flat = values.reshape(values.shape[0], -1).astype(jnp.float32)
        fan_in = flat.shape[-1]
        kernel = self.param("kernel", torch_uniform(fan_in), (fan_in, 1))
        bias = self.param("bias", torch_uniform(fan_in), (1,))
        return conv1x1(flat, kernel)[:, 0] + bias[0]


class MlpHead(nn.Module):
    """One hidden ReLU layer of `hidden` units, to compare the linear head with."""

    hidden: int = 64
    linear = False

    @nn.compact
    def __call__(self, values: jax.Array) -> jax.Array:
        flat = values.reshape(values.shape[0], -1).astype(jnp.float32)
        fan_in = flat.shape[-1]
        kernel = self.param("kernel", torch_uniform(fan_in), (fan_in, self.hidden))
        bias = self.param("bias", torch_uniform(fan_in), (self.hidden,))
        return LinearHead(name="out")(nn.relu(conv1x1(flat, kernel) + bias)[:, None])


def divide_logits(params: Any, by: float) -> Any:
    """Parameters of a head whose logits are those of `params` divided by `by`.

    Raises:
      UserError: the head does not end in a `LinearHead`, itself or as `out`.
    """
    if "out" in params:
        return {**params, "out": divide_logits(params["out"], by)}
    if set(params) != {"kernel", "bias"}:
        raise UserError(f"a head of {', '.join(sorted(params))} does not end in a linear layer")
    return {name: value / by for name, value in params.items()}
