"""Training loss: binary cross-entropy of the logit, and of the random-k logit with a small weight."""

import jax
import optax

from lfm_jax.models import Output


def lfm_loss(output: Output, labels: jax.Array, *, aux_weight: float) -> jax.Array:
    """Output with logits [B], labels [B] in {0, 1} -> scalar BCE(logit) + aux_weight * BCE(aux logit), batch means."""
    loss = optax.sigmoid_binary_cross_entropy(output.logits, labels).mean()
    if output.aux_logits is not None:
        loss += aux_weight * optax.sigmoid_binary_cross_entropy(output.aux_logits, labels).mean()
    return loss
