"""A large image under `native` where memory is short: refused alone, by what it would take; nothing runs beside a large one."""

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data.images import ImageError
from lfm_jax.data.sources.base import Example
from lfm_jax.inference import batching
from lfm_jax.inference.scoring import score
from lfm_jax.runtime.memory import memory_limit


class Sizes:
    """Images of these (width, height)."""

    name = "sizes"

    def __init__(self, sizes):
        self.sizes, self.examples = sizes, [Example(f"{index}.png") for index in range(len(sizes))]

    def image(self, index):
        return Image.new("RGB", self.sizes[index], (101, 0, 0))


def test_a_large_image_is_refused_by_what_it_would_take_and_the_rest_are_scored(given_logits, monkeypatch):
    monkeypatch.setattr(batching, "memory_limit", lambda: 3_000_000_000)
    first, large, last = score(given_logits, Sizes([(64, 64), (4000, 3000), (64, 64)]), "native")
    assert (first.logit, last.logit) == (1, 1)
    assert large.logit is None
    assert "4000 x 3000 px under protocol native would take about 6.9 GB" in large.error
    assert "limit of 3.0 GB here: use crop256 or tiles256" in large.error
    assert [item.logit for item in score(given_logits, Sizes([(4000, 3000)]), "crop256")] == [1]


def test_small_images_are_scored_however_little_memory_there_says_to_be(given_logits, monkeypatch):
    monkeypatch.setattr(batching, "memory_limit", lambda: 1)
    assert [item.logit for item in score(given_logits, Sizes([(256, 256)] * 3), "native")] == [1, 1, 1]


def test_nothing_is_in_flight_beside_a_large_image(given_logits):
    in_flight, most_beside_large = set(), []

    class Pending:
        """Logits that are in flight until they are read."""

        def __init__(self, logits, large):
            self.logits = logits
            in_flight.add(self)
            if large:
                most_beside_large.append(len(in_flight))

        def __array__(self, dtype=None, copy=None):
            in_flight.discard(self)
            return self.logits

    given_logits.logits_async = lambda images, sizes: Pending(np.ones(len(images), np.float32), images.shape[1] > 1000)
    sizes = [(64, 64)] * 20 + [(1500, 1500)] * 3 + [(64, 64)] * 20
    assert len(list(score(given_logits, Sizes(sizes), "native", batch_size=4))) == 43
    assert most_beside_large == [1, 1, 1]


def test_the_limit_is_that_of_this_machine_or_less():
    assert 1 << 28 < memory_limit() < 1 << 50


@pytest.mark.parametrize("side", [32, 512, 1448])
def test_a_batch_of_the_default_size_is_not_large(side):
    assert not batching.is_large(side, side)


def test_one_large_image_in_python_and_its_explanation_are_refused_too(tiny_detector, monkeypatch):
    monkeypatch.setattr(batching, "memory_limit", lambda: 1_000_000_000)
    image = Image.new("RGB", (2000, 1500))
    for answer in (tiny_detector, tiny_detector.explain):
        with pytest.raises(ImageError, match=r"would take about 1\.7 GB"):
            answer(image, protocol="native")
