"""Two numbers that are easily lost on the way: how many positions a share is, and the scale of a residual that is left out."""

import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax.ops.npr import npr_residual
from lfm_jax.ops.pooling import share_of

CASES = [(7, 0.25, 2), (9, 0.25, 2), (10, 0.16, 2), (10, 0.14, 1), (900, 0.0178, 16)]


@pytest.mark.parametrize(("positions", "share", "count"), CASES)
def test_a_share_of_the_positions_is_rounded_to_the_nearest(positions, share, count):
    assert share_of(positions, share) == count
    assert int(share_of(jnp.int32(positions), share)) == count


@pytest.mark.parametrize("scale", [0.5, 2 / 3])
def test_an_image_passed_through_in_place_of_its_residual_is_scaled_as_that_would_be(scale):
    images = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(npr_residual(jnp.asarray(images), kind="none", scale=scale), images[:, :4] * np.float32(scale))
