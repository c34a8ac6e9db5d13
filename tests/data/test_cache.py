"""Decoded images kept in memory: as many as fit, decoded once, and the same as from their source."""

import pytest
from PIL import Image

from lfm_jax.data.cache import KeptSource
from lfm_jax.data.images import ImageError
from lfm_jax.data.sources.base import Example


class Counting:
    """Images of 4 x 4, 8 x 8, ... px, the last one broken; counts how often each is decoded."""

    name = "counting"

    def __init__(self, count):
        self.examples, self.decoded = [Example(str(index)) for index in range(count)], [0] * count

    def image(self, index):
        self.decoded[index] += 1
        if index == len(self.examples) - 1:
            raise ImageError("broken")
        return Image.new("RGB", (4 + 4 * index,) * 2)

    def content_hash(self, index):
        return str(index)

    def encoded(self, index):
        return b"%d" % index


@pytest.mark.parametrize(
    ("limit", "decoded"), [(0, [3, 3, 3, 3]), (320, [1, 1, 3, 3]), (767, [1, 1, 3, 3]), (1 << 20, [1, 1, 1, 3])]
)
def test_images_are_kept_up_to_the_limit_and_no_further(limit, decoded):
    """4 bytes a pixel: 64, 256 and 576 bytes. A broken image is tried again."""
    source = Counting(4)
    kept = KeptSource(source, limit=limit)
    for _ in range(3):
        assert [kept.image(index).width for index in range(3)] == [4, 8, 12]
        with pytest.raises(ImageError, match="broken"):
            kept.image(3)
    assert source.decoded == decoded
    assert (kept.name, kept.examples, kept.content_hash(2), kept.encoded(2)) == (source.name, source.examples, "2", b"2")
