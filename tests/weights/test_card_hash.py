"""The card: its hash is of everything that the weights are, and a field it does not know is named."""

import json

import numpy as np
import pytest

from lfm_jax.weights.card import Card, content_hash


def variables():
    return {
        "params": {"head": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3, np.float32)}},
        "batch_stats": {"norm": {"mean": np.ones(3, np.float32)}},
    }


def renamed(tree):
    tree["params"]["head"]["kernels"] = tree["params"]["head"].pop("kernel")


def reshaped(tree):
    tree["params"]["head"]["kernel"] = tree["params"]["head"]["kernel"].reshape(3, 2)


def another_value(tree):
    tree["params"]["head"]["bias"][1] = np.float32(1e-30)


def another_statistic(tree):
    tree["batch_stats"]["norm"]["mean"][0] = 2


@pytest.mark.parametrize("change", [renamed, reshaped, another_value, another_statistic])
def test_whatever_changes_the_weights_changes_the_hash(change):
    changed = variables()
    change(changed)
    assert content_hash(changed) != content_hash(variables())


def test_the_order_of_names_does_not():
    one, other = variables(), variables()
    other["params"]["head"] = dict(reversed(other["params"]["head"].items()))
    assert content_hash(one) == content_hash(dict(reversed(other.items())))


def test_an_unknown_field_is_named_as_one():
    text = json.dumps(json.loads(Card().to_json()) | {"treshold": 0.4, "zoom": 2})
    with pytest.raises(ValueError, match="unknown fields: treshold, zoom"):
        Card.from_json(text)
