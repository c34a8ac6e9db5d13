"""The operating range: blindness is what the counts show and nothing else, and a damaged one is refused by name."""

import json

import pytest

from lfm_jax.data.facts import FileFacts
from lfm_jax.errors import WeightsError
from lfm_jax.weights.card import Card
from lfm_jax.weights.operating_range import Counts, OperatingRange, interval, measure, shipped

PNG, JPEG, WEBP = FileFacts("PNG"), FileFacts("JPEG", 80, lossy=True), FileFacts("WebP", lossy=True)
RELEASED = "eb0cbbb805c6b422601fa4a1924afb0df6979677c962020e1d7883fa02d7c093"


def counts(fakes, found, photographs, accused):
    return Counts("JPEG", "", "", fakes, found, photographs, accused)


@pytest.mark.parametrize(
    ("counted", "known", "blind", "accuses"),
    [
        (counts(345, 0, 789, 0), True, True, False),
        (counts(586, 511, 503, 48), True, False, False),
        (counts(100, 50, 100, 45), True, True, True),  # finds no more than it accuses
        (counts(100, 95, 100, 40), True, False, True),
        (counts(1000, 60, 1000, 1), True, True, False),  # clearly more, but one fake in sixteen
        (counts(19, 0, 500, 0), False, False, False),  # too few fakes
        (counts(38, 0, 4, 0), True, True, False),  # too few photographs, and yet nothing is found
        (counts(38, 38, 4, 0), False, False, False),
        (counts(0, 0, 0, 0), False, False, False),
    ],
)
def test_blindness_follows_from_counts_with_enough_images(counted, known, blind, accuses):
    assert (counted.known, counted.blind, counted.accuses) == (known, blind, accuses)


def test_the_interval_is_wilsons():
    assert interval(0, 345) == pytest.approx((0, 0.01101), abs=1e-4)
    assert interval(48, 503) == pytest.approx((0.0727, 0.1242), abs=2e-4)
    assert interval(0, 0) == (0, 1)


def measured():
    images = [(JPEG, 300, True, False)] * 30 + [(JPEG, 300, False, False)] * 30
    images += [(PNG, 300, True, True)] * 30 + [(PNG, 200, False, False)] * 30 + [(WEBP, 64, True, True)] * 3
    return measure(images, protocol="crop256", cut=0.0, data="val", data_sha256="")


def test_a_file_is_judged_by_the_most_specific_counts_that_are_known():
    found = measured()
    assert found.counts(JPEG, 300).side == "256 to 511"
    assert found.counts(JPEG, 2000).quality == "70 to 84"
    assert (
        found.counts(FileFacts("JPEG", 96, lossy=True), 300).quality,
        found.counts(FileFacts("JPEG", 96, lossy=True), 300).fakes,
    ) == ("", 30)
    assert found.counts(FileFacts("TIFF"), 300).found == 30  # lossless, as PNG is
    assert found.counts(WEBP, 64) is None
    assert (found.smallest, found.largest) == (64, 300)


def test_a_range_comes_back_from_a_card_and_an_empty_one_leaves_the_card_as_earlier_versions_wrote_it():
    values = json.loads(json.dumps(measured().to_values()))
    assert OperatingRange.from_values(values) == measured()
    assert Card.from_json(Card(operating_range={"crop256": values}).to_json()).ranges == {"crop256": measured()}
    assert "operating_range" not in Card().to_json()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cells": 3}, "operating_range"),
        ({"cells": [{"kind": "JPEG"}]}, "operating_range"),
        ({"protocol": 3}, "operating_range.protocol"),
        ({"cells": [{**measured().to_values()["cells"][0], "found": 99}]}, "operating_range.cells"),
    ],
)
def test_a_damaged_range_is_named(change, named):
    with pytest.raises(WeightsError, match=named):
        Card.from_values({"operating_range": {"crop256": {**measured().to_values(), **change}}})


def test_the_released_weights_have_a_range_in_the_package_and_other_weights_have_none():
    assert Card(weights_sha256=RELEASED).ranges.keys() == shipped()[RELEASED].keys() == {"crop256", "tiles256"}
    for protocol in ("crop256", "tiles256"):
        found = Card(weights_sha256=RELEASED).measured(protocol)
        assert found.protocol == protocol
        assert found.counts(FileFacts("JPEG", 100, lossy=True), 512).blind
        assert not found.counts(PNG, 256).blind
    assert Card(weights_sha256=RELEASED).measured("resize256").protocol != "resize256"
    assert Card(weights_sha256="0" * 64).measured("crop256") is None
