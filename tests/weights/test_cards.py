"""Cards as they may come from a disk: whatever is not a card of usable weights is refused in one line that names it."""

import json

import pytest

from lfm_jax.errors import WeightsError
from lfm_jax.weights.card import Card


def text(**changes):
    """The JSON of a card, with fields changed."""
    return json.dumps(json.loads(Card().to_json()) | changes)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("", "not JSON"),
        ("[]", "expected fields by name, found list"),
        ("3", "found int"),
        ("null", "found NoneType"),
        ("[" * 100_000, "not JSON"),
        (text(model=3), "model = 3: expected fields by name"),
        (text(model={"widhts": [3]}), "widhts"),
        (text(model={"widths": "many"}), "widths"),
        (text(model={"widths": []}), "widths"),
        (text(model={"std": [0.2, 0.0, 0.2]}), r"model\.std = .*above 0"),
        (text(model={"mean": [0.5]}), r"model\.mean = .*expected 3"),
        (text(model={"pooling": {"k": 10**12}}), r"model\.pooling\.k = 1000000000000: expected at least 1 and below"),
        (text(model={"pooling": 3}), r"model\.pooling = 3: expected fields k, k_share, kind"),
        (text(model={"backbone": "resnet999"}), "resnet999"),
        (text(threshold=float("nan")), "threshold = nan"),
        (text(threshold=2), "threshold = 2"),
        (text(threshold="high"), "threshold = 'high': expected a number"),
        (text(threshold=True), "threshold = True: expected a number"),
        (text(temperature=0), "temperature = 0"),
        (text(temperature=-1.5), r"temperature = -1\.5"),
        (text(protocol="centre"), "'centre'"),
        (text(protocol=["crop256"]), "protocol = .*expected text"),
        (text(calibration=[]), "calibration = .*expected fields by name"),
        (text(licence=None), "licence = None: expected text"),
        (text(treshold=0.4), "unknown fields: treshold"),
    ],
    ids=range(25),
)
def test_what_is_not_a_card_is_refused_in_one_line(damaged, message):
    with pytest.raises(WeightsError, match=message) as refused:
        Card.from_json(damaged)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_card_comes_back_as_it_was_and_whole_numbers_will_do():
    card = Card(threshold=0.25, licence="MIT")
    loaded = Card.from_json(card.to_json())
    assert (loaded.threshold, loaded.licence, loaded.model_config()) == (0.25, "MIT", card.model_config())
    assert Card.from_json(text(temperature=2)).temperature == 2
