"""What becomes of one image: a `Prediction`, or a `Failure` with its reason."""

from dataclasses import dataclass
from typing import Self

from lfm_jax.inference.html import prediction_html
from lfm_jax.weights.card import Card


@dataclass(frozen=True)
class Prediction:
    """`score` in [0, 1] that the image is fake; `label` is "fake" where it is above `threshold`."""

    logit: float
    score: float
    label: str
    threshold: float
    protocol: str
    width: int
    height: int

    def _repr_html_(self) -> str:
        """For notebooks."""
        return prediction_html(self)

    @classmethod
    def of(cls, logit: float, card: Card, *, protocol: str, width: int, height: int) -> Self:
        """A logit with what the card makes of it."""
        label = "fake" if card.is_fake(logit) else "real"
        return cls(logit, card.score(logit), label, card.threshold, protocol, width, height)


@dataclass(frozen=True)
class Failure:
    """An image that could not be scored, in its place among predictions, and why."""

    error: str
