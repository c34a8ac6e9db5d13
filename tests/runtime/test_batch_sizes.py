"""A batch that does not divide over the devices: the message says which batch would, and over how many devices this one does."""

import pytest

from lfm_jax.errors import ConfigError
from lfm_jax.runtime.sharding import check_batch_size


@pytest.mark.parametrize(
    ("batch_size", "devices", "accumulate", "words"),
    [
        (12, 8, 1, "= 12 does not divide over 8 devices: 8 would, or run it on 6 or 4 or 3 devices"),
        (7, 4, 1, "= 7 does not divide over 4 devices: 4 would"),
        (24, 8, 2, "over 8 devices x config.accumulate = 2: 16 would, or run it on 6 or 4 or 3 devices"),
        (9, 4, 2, "over 4 devices x config.accumulate = 2: 8 would"),
        (0, 2, 1, "= 0 does not divide over 2 devices: 2 would"),
    ],
)
def test_the_message_says_what_would_fit(batch_size, devices, accumulate, words):
    with pytest.raises(ConfigError) as caught:
        check_batch_size(batch_size, devices, accumulate=accumulate)
    assert str(caught.value).endswith(words)
