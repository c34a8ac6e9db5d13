"""The tiles that make an image's logit: a share of them, rounded up, those that look most fake."""

import pytest

from lfm_jax.data.protocols import parse


@pytest.mark.parametrize(
    ("name", "logit"), [("tiles32", 2.0), ("tiles32_top25", 3.5), ("tiles32_top20", 4.0), ("tiles32_top1", 4.0)]
)
def test_a_share_that_is_no_whole_number_of_tiles_is_rounded_up(name, logit):
    assert parse(name).logit([3.0, 0.0, 4.0, 1.0, 2.0]) == logit
