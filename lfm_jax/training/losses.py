"""Training loss: cross-entropy of the logit, a little of the random-k logit's, and agreement between views of one image.

In: an `Output` and labels, views of one image next to each other. Out: a scalar, a mean over the batch.
"""

import jax
import jax.numpy as jnp
import optax

from lfm_jax.models import Output


def lfm_loss(output: Output, labels: jax.Array, *, aux_weight: float, label_smoothing: float = 0.0) -> jax.Array:
    """Output with logits [B], labels [B] in {0, 1} -> scalar BCE(logit) + aux_weight * BCE(aux logit), batch means.

    With `label_smoothing` s the targets are s / 2 and 1 - s / 2.
    """
    targets = labels * (1 - label_smoothing) + label_smoothing / 2
    loss = optax.sigmoid_binary_cross_entropy(output.logits, targets).mean()
    if output.aux_logits is not None:
        loss += aux_weight * optax.sigmoid_binary_cross_entropy(output.aux_logits, targets).mean()
    return loss


def disagreement(logits: jax.Array) -> jax.Array:
    """logits [B, 2] of two views of each image -> scalar >= 0, 0 where they agree: symmetric KL divergence of their scores.

    Of Bernoulli distributions KL(p, q) + KL(q, p) is the difference of p and q times that of their logits.
    """
    first, second = logits.T
    return jnp.mean((jax.nn.sigmoid(first) - jax.nn.sigmoid(second)) * (first - second))
