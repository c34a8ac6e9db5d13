"""Evidence maps: they add up to the logit, whatever the size."""

import dataclasses

import numpy as np
import pytest

from lfm_jax import explain
from lfm_jax.detector import Detector
from lfm_jax.ops.pooling import mean_pool


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 83), (96, 70)])
def test_the_map_and_the_bias_add_up_to_the_logit(tiny_detector, noise, height, width):
    pixels = np.asarray(noise(height, width))
    added = explain.evidence(tiny_detector, pixels)
    sides = tuple(tiny_detector.model.backbone.map_side(side) for side in (height, width))
    assert (added.shape, added.dtype) == (sides, np.float32)
    bias = float(tiny_detector.variables["params"]["head"]["bias"][0])
    assert added.sum() + bias == pytest.approx(tiny_detector.logits(pixels[None])[0], abs=1e-3)
    assert explain.overlay(tiny_detector, pixels, added).size == (width, height)


def test_a_pooling_that_mixes_positions_has_no_evidence(tiny_detector, noise):
    model = dataclasses.replace(tiny_detector.model, pool=mean_pool)
    mixed = Detector(model, tiny_detector.variables, tiny_detector.card)
    assert explain.evidence(mixed, np.asarray(noise(64, 64))) is None


def test_no_pixel_outside_a_window_moves_its_position(tiny_detector, noise):
    """What `stride` and `window` say is what the network does."""
    backbone, before = tiny_detector.model.backbone, np.asarray(noise(64, 64))
    after = before.copy()
    after[:, backbone.window + 1 :] = 0
    variables = {name: tiny_detector.variables[name] for name in ("params", "batch_stats")}
    maps = [np.asarray(tiny_detector.model.apply(variables, pixels[None]).maps)[0] for pixels in (before, after)]
    np.testing.assert_array_equal(maps[0][:, 0], maps[1][:, 0])
    assert not np.array_equal(maps[0][:, 1], maps[1][:, 1])
