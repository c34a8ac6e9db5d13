"""The answer to a person: one of three, never more than was found, and always with its reasons."""

import dataclasses

import numpy as np
import pytest

from lfm_jax.data import protocols
from lfm_jax.data.facts import FileFacts
from lfm_jax.inference.scoring import flatness
from lfm_jax.inference.verdict import FOUND, NONE, NOT_PROOF, UNKNOWN, Decision, Picture, verdict
from lfm_jax.weights.operating_range import Counts, OperatingRange

PNG, JPEG = FileFacts("PNG"), FileFacts("JPEG", 92, lossy=True)
SEES = Counts("lossless", "", "", 100, 90, 100, 2)
BLIND = Counts("JPEG", "", "", 100, 0, 100, 0)
RANGE = OperatingRange("crop256", 0.0, 200, 1000, (SEES, BLIND))
ABOVE, BELOW = Decision(0.9, 0.5, True, 0.0), Decision(0.1, 0.5, False, 0.0)


def picture(width=512, height=512, protocol="crop256", flat=0.0, facts=PNG):
    return Picture(width, height, protocols.parse(protocol), flat, facts)


@pytest.mark.parametrize(
    ("decision", "seen", "measured", "answer", "word"),
    [
        (ABOVE, picture(), RANGE, FOUND, "90 of 100 fakes"),
        (BELOW, picture(), RANGE, NONE, "90 of 100 fakes"),
        (BELOW, picture(facts=JPEG), RANGE, UNKNOWN, "blind here: of JPEG files, they found 0 of 100 fakes"),
        (ABOVE, picture(facts=JPEG), RANGE, FOUND, "accused 0 of 100 photographs"),  # blindness takes no trace back
        (BELOW, picture(4032, 3024), RANGE, UNKNOWN, "Only 0.5 % of the picture was looked at"),
        (ABOVE, picture(4032, 3024), RANGE, FOUND, "learned as traces"),
        (BELOW, picture(4032, 3024, "tiles256"), None, NONE, "never measured"),
        (BELOW, picture(64, 64), RANGE, UNKNOWN, "measured on images from 200 px"),
        (BELOW, picture(flat=0.99), RANGE, UNKNOWN, "99 % of the 2 x 2 blocks"),
        (ABOVE, picture(flat=0.99), RANGE, UNKNOWN, "flat"),
        (BELOW, picture(), None, NONE, "never measured"),
        (ABOVE, picture(), None, FOUND, "above the threshold, 0.5"),
        (BELOW, picture(facts=None), RANGE, NONE, "without their file"),
        (BELOW, picture(facts=FileFacts("GIF", lossy=True)), RANGE, NONE, "not measured on files like this one (GIF)"),
        (BELOW, picture(protocol="resize256"), RANGE, NONE, "measured under crop256, not under resize256"),
    ],
)
def test_each_rule_gives_its_answer_with_its_reason(decision, seen, measured, answer, word):
    given = verdict(decision, seen, measured)
    assert given.answer == answer
    assert word in " ".join(given.reasons)
    assert (NOT_PROOF in given.reasons) == (answer == NONE)
    assert bool(given.why) >= (answer == UNKNOWN)
    assert all(reason.endswith(".") and "real" not in reason.replace(NOT_PROOF, "") for reason in given.reasons)


def test_a_found_trace_is_doubted_where_photographs_are_accused_often():
    often = dataclasses.replace(RANGE, cells=(Counts("lossless", "", "", 100, 95, 100, 40),))
    given = verdict(ABOVE, picture(), often)
    assert (given.answer, given.why) == (UNKNOWN, "accused 40/100 photos")
    assert verdict(BELOW, picture(), often).answer == NONE


def test_a_larger_image_than_measured_counts_only_where_the_protocol_does_not_look_at_it_pixel_by_pixel():
    for protocol, answer in (("crop256", NONE), ("tiles256", NONE), ("native", UNKNOWN), ("resize256", UNKNOWN)):
        under = dataclasses.replace(RANGE, protocol=protocol)
        assert verdict(BELOW, picture(1100, 1100, protocol), under).answer == answer


def test_scores_between_the_limits_of_unsure_are_left_open():
    for score, answer in ((0.29, NONE), (0.3, UNKNOWN), (0.5, UNKNOWN), (0.7, UNKNOWN), (0.71, FOUND)):
        assert verdict(Decision(score, 0.5, score > 0.5, 0.0, (0.3, 0.7)), picture(), RANGE).answer == answer


def test_at_another_threshold_only_what_follows_from_the_counts_is_kept():
    """At a higher one weights find still less, so they stay blind; at a lower one they may find more."""
    higher, lower = Decision(0.1, 0.9, False, 2.2), Decision(0.1, 0.2, False, -1.4)
    assert verdict(higher, picture(facts=JPEG), RANGE).answer == UNKNOWN
    assert verdict(lower, picture(facts=JPEG), RANGE).answer == NONE
    often = dataclasses.replace(RANGE, cells=(Counts("lossless", "", "", 100, 95, 100, 40),))
    assert verdict(Decision(0.99, 0.9, True, 2.2), picture(), often).answer == FOUND
    assert verdict(Decision(0.99, 0.2, True, -1.4), picture(), often).answer == UNKNOWN


@pytest.mark.parametrize(
    ("protocol", "width", "height", "share"),
    [
        ("native", 512, 300, 1.0),
        ("crop256", 512, 512, 0.25),
        ("crop256", 200, 512, 0.5),
        ("resize256", 4000, 3000, 1.0),
        ("resize256_crop128", 4000, 3000, 0.25),
        ("tiles256", 512, 512, 1.0),
        ("tiles256", 600, 300, 512 * 256 / (600 * 300)),
        ("tiles256", 100, 80, 1.0),
        ("crop256_pad", 100, 80, 1.0),
    ],
)
def test_the_share_is_of_the_pixels_looked_at(protocol, width, height, share):
    assert protocols.parse(protocol).share(width, height) == pytest.approx(share)


def test_flatness_counts_blocks_of_one_colour(noise):
    flat = np.full((1, 64, 64, 3), 200, np.uint8)
    assert flatness(flat) == 1.0
    flat[0, :32] = np.asarray(noise(32, 64))
    assert flatness(flat) == pytest.approx(0.5, abs=0.01)
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None, None], (1, 64, 64, 3))
    assert flatness(ramp) == 1.0  # neighbours differ by one level
