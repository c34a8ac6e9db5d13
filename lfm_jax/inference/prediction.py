"""What becomes of one image: a `Prediction`, or a `Failure` with its reason."""

import math
from dataclasses import asdict, dataclass
from typing import Self

from lfm_jax.data.images import ImageError
from lfm_jax.data.provenance import Provenance
from lfm_jax.inference.notebook import prediction_html
from lfm_jax.weights.card import Card


@dataclass(frozen=True)
class Prediction:
    """An image's logit and what its weights' card makes of it.

    Attributes:
      score: in [0, 1], rising with the logit: how fake the image looks.
      label: "fake" if the score is above `threshold`, else "real".
      protocol: how the scored pixels were chosen.
      width, height: px of the image as decoded.
      provenance: what its file says about its origin, which changes no score; None where it came as pixels.
    """

    logit: float
    score: float
    label: str
    threshold: float
    protocol: str
    width: int
    height: int
    provenance: Provenance | None = None

    @classmethod
    def of(cls, logit: float, card: Card, *, protocol: str, width: int, height: int, provenance: Provenance | None = None) -> Self:
        """Applies the card's temperature and threshold to a logit. Raises ImageError if it is not finite."""
        require_finite(logit)
        label = "fake" if card.is_fake(logit) else "real"
        return cls(logit, card.score(logit), label, card.threshold, protocol, width, height, provenance)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return prediction_html(asdict(self))


def require_finite(logit: float) -> None:
    """Raises ImageError for a logit that is no answer: "not above the threshold" would read as "real"."""
    if not math.isfinite(logit):
        raise ImageError(
            f"the logit of these weights is {logit}, which is neither real nor fake: they hold values that are not finite, "
            "or so large that float32 overflows; use other weights"
        )


@dataclass(frozen=True)
class Failure:
    """Stands among predictions in place of an image that could not be scored, and says why."""

    error: str
