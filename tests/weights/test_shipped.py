"""Weights that come with the package: whole, with a card that says what they see, and the same logits on every machine."""

import json
from pathlib import Path

import pytest

from lfm_jax.data import synthetic
from lfm_jax.inference import detector
from lfm_jax.weights import io, named

SHIPPED = [name for name, entry in named.entries().items() if not entry.urls]
LOGITS = json.loads(Path(__file__).with_name("shipped_logits.json").read_text())


def texts(value):
    """All strings in a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in texts(item)]


def test_there_is_one_and_no_file_without_an_entry():
    assert SHIPPED
    assert {file.name for file in named.SHIPPED.glob("*.safetensors")} == {named.entries()[name].file for name in SHIPPED}
    assert set(LOGITS) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_card_says_how_to_use_it_and_what_it_sees(name):
    entry, card = named.entries()[name], io.load(name).card
    assert entry.place.stat().st_size == entry.size <= 3e6
    assert card.licence == entry.licence
    assert card.calibration["objective"].startswith("fpr=") and not card.oracle
    assert set(card.ranges) == {"crop256", "tiles256"}
    assert any(not cell.blind for cell in card.ranges[card.protocol].cells if cell.known)
    assert not [text for text in texts(json.loads(card.to_json())) if Path(text).is_absolute()]  # of the machine that trained it


@pytest.mark.parametrize("name", SHIPPED)
def test_drawn_images_get_the_stored_logits(name):
    """Within what another CPU, jax or number of threads changes: sums of 700,000 products in another order."""
    network = detector.load(name)
    logits = [network(synthetic.example(0, "test", index, 256)[0]).logit for index in range(len(LOGITS[name]))]
    assert logits == pytest.approx(LOGITS[name], abs=2e-3, rel=1e-4)
