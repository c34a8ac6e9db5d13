"""The training loss: cross-entropy of the logit, and two regularising terms that a config may add to it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from lfm_jax.models import Output


@dataclass(frozen=True)
class LossTerms:
    """What the loss adds to the plain cross-entropy; 0 turns a term off.

    Attributes:
      aux_weight: weight of the cross-entropy of the random-k branch's logit (LFM, arXiv 2508.17029).
      label_smoothing: s in the targets s / 2 and 1 - s / 2, which replace 0 and 1.
      consistency: weight of the `disagreement` between two views of each image.
    """

    aux_weight: float = 0.0
    label_smoothing: float = 0.0
    consistency: float = 0.0


def lfm_loss(output: Output, labels: jax.Array, terms: LossTerms) -> jax.Array:
    """Cross-entropy of the logits plus, weighted, that of the random-k branch's logits, each a mean over the batch.

    Args:
      output: of the network, with logits [B].
      labels: [B], 0 for real and 1 for fake.
      terms: `consistency` is not used here: it needs to know which logits belong to one image.
    """
    targets = labels * (1 - terms.label_smoothing) + terms.label_smoothing / 2
    loss = optax.sigmoid_binary_cross_entropy(output.logits, targets).mean()
    if output.aux_logits is not None:
        loss += terms.aux_weight * optax.sigmoid_binary_cross_entropy(output.aux_logits, targets).mean()
    return loss


def disagreement(logits: jax.Array) -> jax.Array:
    """Symmetric KL divergence between the scores of two views of each image, averaged over the batch; 0 where they agree.

    For Bernoulli distributions p and q, KL(p, q) + KL(q, p) is the difference of p and q times the difference of their logits.

    Args:
      logits: [B, 2], the two views of each image side by side.
    """
    first, second = logits.T
    return jnp.mean((jax.nn.sigmoid(first) - jax.nn.sigmoid(second)) * (first - second))
