"""The answer to a person: trace found, no trace found, or cannot tell; with its reasons as plain sentences.

The rules, in order. The constants are of pictures, not of weights; what weights can see stands in their operating range.

1. Flat: nearly all 2 x 2 blocks that were scored have one colour, so there is nothing to find -> cannot tell.
2. Unsure: the score lies in the range that the user asked to be left undecided -> cannot tell.
3. The score is above the threshold -> trace found; cannot tell where the operating range says that photographs like this
   one are accused often.
4. Otherwise -> no trace found; cannot tell where finding nothing says nothing: too small a share of the picture was
   scored, the operating range says that the weights are blind to such files, or the picture is of a size that they were
   never measured on.

Where nothing was measured, "no trace found" stands, and its reasons say so: only measured blindness is blindness.
"""

from dataclasses import dataclass

from lfm_jax.data.facts import FileFacts
from lfm_jax.data.protocols import Protocol
from lfm_jax.weights.operating_range import Counts, OperatingRange

FOUND, NONE, UNKNOWN = "trace found", "no trace found", "cannot tell"
ANSWERS = (FOUND, NONE, UNKNOWN)
NOT_PROOF = "This is not proof of a real photograph."
FLAT = 0.95  # of the 2 x 2 blocks; of 2,266 pictures of a corpus one has more
TOO_LITTLE = 0.01  # of the picture; 256 x 256 of 6.5 megapixels


@dataclass(frozen=True)
class Verdict:
    """`answer` is one of ANSWERS. `why` says in a few words, for tables, what keeps it from being plain; often ""."""

    answer: str
    reasons: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True)
class Picture:
    """What a verdict takes into account of an image besides its score.

    Attributes:
      width, height: in px, as decoded.
      protocol: by which it was scored.
      flat: the share of its scored 2 x 2 blocks that have one colour, up to a level of 255.
      facts: of its file; None for pixels that came without one.
    """

    width: int
    height: int
    protocol: Protocol
    flat: float = 0.0
    facts: FileFacts | None = None

    @property
    def share(self) -> float:
        """How much of it was looked at."""
        return self.protocol.share(self.width, self.height)

    @property
    def side(self) -> int:
        """Its shorter side in px."""
        return min(self.width, self.height)


@dataclass(frozen=True)
class Decision:
    """A score against its threshold.

    Attributes:
      above: whether the score is above it.
      cut: the logit at the threshold.
      unsure: scores to leave undecided, (lowest, highest); None for none.
    """

    score: float
    threshold: float
    above: bool
    cut: float
    unsure: tuple[float, float] | None = None


def verdict(decision: Decision, picture: Picture, measured: OperatingRange | None) -> Verdict:
    """The answer for a picture; `measured` is the operating range of the weights, None where they have none."""
    if picture.flat >= FLAT:
        blocks = f"{_percent(picture.flat)} of the 2 x 2 blocks that were scored have one colour"
        return Verdict(UNKNOWN, (f"The picture is flat: {blocks}, so there is nothing to find a trace in.",), "flat")
    if decision.unsure and decision.unsure[0] <= decision.score <= decision.unsure[1]:
        low, high = decision.unsure
        return Verdict(
            UNKNOWN,
            (f"The score, {_number(decision.score)}, lies between {low:g} and {high:g}, which were to be left open.",),
            "unsure",
        )
    counts = known_counts(decision, picture, measured)
    return _found(decision, picture, counts) if decision.above else _none(decision, picture, measured, counts)


def known_counts(decision: Decision, picture: Picture, measured: OperatingRange | None) -> Counts | None:
    """What was measured for files like this one, under this protocol and at this threshold; None if nothing was.

    At a threshold that is higher than the measured one, weights find fewer fakes and accuse fewer photographs still: what
    was blind stays blind. At a lower one, frequent alarms stay frequent.
    """
    if measured is None or picture.facts is None or measured.protocol != picture.protocol.name:
        return None
    counts = measured.counts(picture.facts, picture.side)
    if counts is None or abs(decision.cut - measured.cut) < 1e-6:
        return counts
    return counts if (counts.blind if decision.cut > measured.cut else counts.accuses) else None


def _found(decision: Decision, picture: Picture, counts: Counts | None) -> Verdict:
    score = f"The score, {_number(decision.score)}, is above the threshold, {decision.threshold:.3g}"
    if counts and counts.accuses:
        why = f"accused {counts.accused}/{counts.photographs} photos"
        return Verdict(UNKNOWN, (f"{score}, but these weights accuse many photographs: {counts}.",), why)
    reasons = [f"{score}: these weights found what they learned as traces of a generator."]
    reasons += [_measurement(counts)] if counts else []
    return Verdict(FOUND, tuple(reasons))


def _none(decision: Decision, picture: Picture, measured: OperatingRange | None, counts: Counts | None) -> Verdict:
    score = f"The score, {_number(decision.score)}, is not above the threshold, {decision.threshold:.3g}"
    doubts = []
    if counts and counts.blind:
        doubts.append((f"blind to {counts.kind}", f"These weights are blind here: {counts}."))
    if picture.share < TOO_LITTLE:
        looked = f"Only {_percent(picture.share)} of the picture was looked at; lfm predict --protocol=tiles256 looks at all of it."
        doubts.append((f"{_percent(picture.share)} looked at", looked))
    doubts += _size_doubts(picture, measured)
    if doubts:
        words, sentences = zip(*doubts, strict=True)
        return Verdict(UNKNOWN, (f"{score}, but that says nothing.", *sentences), words[0])
    reasons = [f"{score}: these weights found no trace that they know."]
    reasons.append(_measurement(counts) if counts else _unmeasured(picture, measured))
    return Verdict(NONE, (*reasons, NOT_PROOF), "" if counts else "never measured")


def _size_doubts(picture: Picture, measured: OperatingRange | None) -> list[tuple[str, str]]:
    """Pictures smaller than any measured; and larger ones, unless the protocol looks at them pixel by pixel."""
    if measured is None or measured.protocol != picture.protocol.name:
        return []
    side = f"Its shorter side has {picture.side} px"
    if picture.side < measured.smallest:
        return [("smaller than measured", f"{side}, and these weights were measured on images from {measured.smallest} px.")]
    cut_out = (picture.protocol.crop or picture.protocol.tiles) and not picture.protocol.resize
    if picture.side > measured.largest and not cut_out:
        return [("larger than measured", f"{side}, and these weights were measured on images up to {measured.largest} px.")]
    return []


def _measurement(counts: Counts) -> str:
    """What was counted; without a size where too few images had the size of this one."""
    return f"When they were measured{'' if counts.side else ', mostly on images of other sizes'}: {counts}."


def _unmeasured(picture: Picture, measured: OperatingRange | None) -> str:
    if measured is None:
        return (
            "It was never measured to which files these weights are blind (lfm calibrate does), so they may be blind to this one."
        )
    if measured.protocol != picture.protocol.name:
        name = picture.protocol.name
        return f"These weights were measured under {measured.protocol}, not under {name}, so they may be blind to this file."
    if picture.facts is None:
        return "These pixels came without their file, so it is not known whether saving it wiped out traces."
    return (
        f"These weights were not measured on files like this one ({picture.facts}) at this threshold, so they may be blind to it."
    )


def _percent(share: float) -> str:
    """0.5 %, 12 %"""
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _number(score: float) -> str:
    """0.973; scores at the ends of the range as "below 0.001", "above 0.999"."""
    if 0.001 <= score <= 0.999:
        return f"{score:.3f}"
    return "above 0.999" if score > 0.5 else "below 0.001"
