"""Random draws are those of all versions before, so that a stored run continues as it began."""

import json

import pytest

from tests.helpers.draws import FILE, first_draws

KINDS = list(json.loads(FILE.read_text())) if FILE.exists() else []


@pytest.fixture(scope="module")
def draws():
    return first_draws()


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_draws_are_the_stored_ones(draws, kind):
    assert draws[kind] == json.loads(FILE.read_text())[kind]


def test_every_kind_of_draw_is_stored(draws):
    assert list(draws) == KINDS, "a new kind of draw: python -m tests.helpers.draws"
