"""Evidence maps add up to the logit, whatever the size of the image."""

import numpy as np
import pytest

from lfm_jax import models
from lfm_jax.errors import UserError
from lfm_jax.inference import drawing
from lfm_jax.inference.detector import Detector
from lfm_jax.inference.evidence import evidence_map, pooled_entries
from lfm_jax.models import random_variables
from tests.helpers.networks import run


def with_model(detector, changes):
    """A detector with random weights, its model config changed in these fields."""
    config = detector.card.model_config()
    config.update_from_flattened_dict(changes)
    model = models.build(config)
    return Detector(model, random_variables(model), detector.card)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 83), (96, 70)])
def test_the_map_and_the_bias_add_up_to_the_logit(tiny_detector, noise, height, width):
    pixels = np.asarray(noise(height, width))
    evidence = evidence_map(tiny_detector, pixels)
    sides = tuple(tiny_detector.model.backbone.map_side(side) for side in (height, width))
    assert (evidence.shape, evidence.dtype) == (sides, np.float32)
    bias = float(tiny_detector.variables["params"]["head"]["bias"][0])
    assert evidence.sum() + bias == pytest.approx(tiny_detector.logits(pixels[None])[0], abs=1e-3)
    assert drawing.overlay(tiny_detector.model, pixels, evidence).size == (width, height)


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling.kind": "mean"},
        {"pooling.kind": "max", "residual.factor": 4, "residual.anchor": (0, 3)},
        {"pooling.kind": "random"},
        {"pooling.k_share": 0.2},
    ],
    ids=str,
)
def test_other_poolings_of_single_positions_add_up_too(tiny_detector, noise, changes):
    other = with_model(tiny_detector, changes)
    pixels = np.asarray(noise(50, 83))
    evidence = evidence_map(other, pixels)
    assert evidence.shape == (other.model.map_side(50), other.model.map_side(83))
    bias = float(other.variables["params"]["head"]["bias"][0])
    assert evidence.sum() + bias == pytest.approx(other.logits(pixels[None])[0], abs=1e-3)
    entries = pooled_entries(other, pixels)
    pooled = {"mean": evidence.size, "max": 1, "random": evidence.size}.get(changes.get("pooling.kind"), round(0.2 * evidence.size))
    assert entries.values.shape == (other.model.maps, pooled)
    assert (np.diff(entries.values) <= 0).all()


@pytest.mark.parametrize(
    ("changes", "field"), [({"pooling.kind": "attention"}, "model.pooling.kind"), ({"head.kind": "mlp"}, "model.head.kind")]
)
def test_a_logit_that_is_not_a_sum_of_positions_has_no_evidence_and_the_error_says_why(tiny_detector, noise, changes, field):
    mixed = with_model(tiny_detector, changes)
    assert evidence_map(mixed, np.asarray(noise(64, 64))) is None
    with pytest.raises(UserError, match=f"no sum over positions .{field}"):
        mixed.explain(noise(64, 64))


def test_no_pixel_outside_a_window_moves_its_position(tiny_detector, noise):
    """The network sees exactly what its `stride` and `window` say."""
    backbone, before = tiny_detector.model.backbone, np.asarray(noise(64, 64))
    after = before.copy()
    after[:, backbone.window + 1 :] = 0
    variables = {name: tiny_detector.variables[name] for name in ("params", "batch_stats")}
    maps = [np.asarray(run(tiny_detector.model, variables, pixels[None]).maps)[0] for pixels in (before, after)]
    np.testing.assert_array_equal(maps[0][:, 0], maps[1][:, 0])
    assert not np.array_equal(maps[0][:, 1], maps[1][:, 1])


def test_the_overlay_is_red_for_fake_blue_for_real_and_frames_the_strongest(tiny_detector):
    """One strong position for fake and a weak one for real, visible because opacity follows the square root."""
    stride, window = tiny_detector.model.backbone.stride, tiny_detector.model.backbone.window
    pixels = np.full((96, 96, 3), 128, np.uint8)
    evidence = np.zeros([tiny_detector.model.backbone.map_side(96)] * 2, np.float32)
    evidence[1, 1], evidence[1, 8] = 4.0, -0.25
    image = np.asarray(drawing.overlay(tiny_detector.model, pixels, evidence)).astype(int)

    def middle(row, column):
        return image[row * stride + window // 2, column * stride + window // 2]

    for (row, column), (strong, weak) in {(1, 1): (0, 2), (1, 8): (2, 0)}.items():
        red_or_blue = middle(row, column)
        assert red_or_blue[strong] - red_or_blue[weak] > 30
        np.testing.assert_array_equal(image[row * stride - 2, column * stride - 2], 255)  # the corner of its frame
    np.testing.assert_array_equal(image[-1, -1], 128)
