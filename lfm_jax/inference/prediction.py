"""What becomes of one image: a `Prediction`, or a `Failure` with its reason."""

import math
from dataclasses import asdict, dataclass
from typing import Self

from lfm_jax.data.images import ImageError
from lfm_jax.data.provenance import Provenance
from lfm_jax.inference.notebook import prediction_html
from lfm_jax.inference.verdict import Decision, Picture, verdict
from lfm_jax.weights.card import Card


@dataclass(frozen=True)
class Prediction:
    """An image's logit and what its weights' card makes of it.

    Attributes:
      score: in [0, 1], rising with the logit: how fake the image looks.
      label: "fake" if the score is above `threshold`, else "real": a side of the threshold for programs, not an answer.
      protocol: how the scored pixels were chosen.
      width, height: px of the image as decoded.
      verdict: the answer to a person, one of `verdict.ANSWERS`.
      reasons: for it, as sentences.
      why: in a few words what keeps the answer from being plain; often "".
      format: of the file, such as JPEG 92; "" for pixels that came without one.
      share: how much of the picture was looked at, in (0, 1].
      provenance: what its file says about its origin, which changes no score; None where it came as pixels.
    """

    logit: float
    score: float
    label: str
    threshold: float
    protocol: str
    width: int
    height: int
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    why: str = ""
    format: str = ""
    share: float = 1.0
    provenance: Provenance | None = None

    @classmethod
    def of(
        cls,
        logit: float,
        card: Card,
        picture: Picture,
        *,
        unsure: tuple[float, float] | None = None,
        provenance: Provenance | None = None,
    ) -> Self:
        """Applies the card's temperature, threshold and operating range to a logit; `unsure` as in `verdict.Decision`.

        Raises:
          ImageError: the logit is not finite.
        """
        require_finite(logit)
        decision = Decision(card.score(logit), card.threshold, card.is_fake(logit), card.cut, unsure)
        answer = verdict(decision, picture, card.measured(picture.protocol.name))
        return cls(
            logit=logit,
            score=decision.score,
            label="fake" if decision.above else "real",
            threshold=card.threshold,
            protocol=picture.protocol.name,
            width=picture.width,
            height=picture.height,
            verdict=answer.answer,
            reasons=answer.reasons,
            why=answer.why,
            format=str(picture.facts or ""),
            share=picture.share,
            provenance=provenance,
        )

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
