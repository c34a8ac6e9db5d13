"""Where an explanation paints and what it outlines: the middle of each window, and windows that do not overlap."""

import itertools

import numpy as np
import pytest
from PIL import Image

from lfm_jax import models
from lfm_jax.errors import TooSmallError
from lfm_jax.inference.detector import Detector
from lfm_jax.models import random_variables
from tests.helpers.networks import run


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.fixture(scope="module")
def one_position(tiny_detector):
    """A detector that scores an image from a single position of a single map."""
    config = tiny_detector.card.model_config()
    config.maps, config.pooling.k = 1, 1
    model = models.build(config)
    return Detector(model, random_variables(model), tiny_detector.card)


@pytest.mark.parametrize("seed", range(4))
def test_evidence_is_painted_on_the_stride_sized_square_in_the_middle_of_its_window(one_position, noise, seed):
    """LFM sees 23 px at a stride of 8: 7 px are left over at the top and the left, 8 at the bottom and the right."""
    image = noise(96, 104, seed=seed)
    explanation = one_position.explain(image, protocol="native")
    (location,) = explanation.locations
    rows, columns = (np.flatnonzero(explanation.heat.any(axis)) for axis in (1, 0))
    painted = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    left, top = 8 * location.col, 8 * location.row
    assert painted == (left + 7, top + 7, left + 15, top + 15)
    assert np.unique(explanation.heat[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).size == 1
    x0, y0, x1, y1 = location.box
    assert x0 <= left and y0 <= top and x1 >= left + 23 and y1 >= top + 23


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_outlined_windows_are_the_strongest_that_do_not_overlap(tiny_detector, noise, count):
    explanation = tiny_detector.explain(noise(128, 128), protocol="native")
    boxes = [location.box for location in explanation.locations]
    assert any(overlap(*pair) for pair in itertools.combinations(boxes[:5], 2)), "the strongest overlap, or there is nothing to see"
    outlined = explanation.strongest(count)
    assert len(outlined) == count
    assert outlined[0] == explanation.locations[0]
    assert not any(overlap(one.box, other.box) for one, other in itertools.combinations(outlined, 2))
    # Whatever is stronger than the last of them and was left out overlaps with one of them.
    weakest = explanation.locations.index(outlined[-1])
    for location in explanation.locations[:weakest]:
        assert location in outlined or any(overlap(location.box, kept.box) for kept in outlined)


def test_a_window_holds_the_pixels_that_its_blocks_are_compared_with(tiny_detector, noise):
    """Blocks of 4 px whose anchor is their last column: some begin outside the 23 px that the backbone sees."""
    config = tiny_detector.card.model_config()
    config.residual.factor, config.residual.anchor = 4, (0, 3)
    model = models.build(config)
    detector = Detector(model, random_variables(model), tiny_detector.card)
    variables = {name: detector.variables[name] for name in ("params", "batch_stats")}
    pixels = np.asarray(noise(96, 96))
    maps = np.asarray(run(model, variables, pixels[None]).maps)
    for location in detector.explain(Image.fromarray(pixels), protocol="native").strongest(4):
        x0, y0, x1, y1 = location.box
        outside = 255 - pixels
        outside[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
        changed = np.asarray(run(model, variables, outside[None]).maps)
        np.testing.assert_array_equal(changed[0, location.row, location.col], maps[0, location.row, location.col])


def test_an_image_with_a_position_too_few_is_refused(tiny_detector):
    config = tiny_detector.card.model_config()
    positions = models.build(config).positions(64, 64)
    config.pooling.k = positions
    models.build(config).require_size(64, 64)
    config.pooling.k = positions + 1
    with pytest.raises(TooSmallError, match=f"it gives {positions} map positions and the network pools {positions + 1}"):
        models.build(config).require_size(64, 64)
