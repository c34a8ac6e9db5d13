"""Two numbers that are easily lost on the way: how many positions a share is, and the scale of a residual."""

import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax.ops.npr import Residual, npr_residual
from lfm_jax.ops.pooling_variants import share_of

CASES = [(7, 0.25, 2), (9, 0.25, 2), (10, 0.16, 2), (10, 0.14, 1), (900, 0.0178, 16)]


@pytest.mark.parametrize(("positions", "share", "count"), CASES)
def test_a_share_of_the_positions_is_rounded_to_the_nearest(positions, share, count):
    assert share_of(positions, share) == count
    assert int(share_of(jnp.int32(positions), share)) == count


@pytest.mark.parametrize("scale", [0.5, 2 / 3])
@pytest.mark.parametrize("kind", ["abs", "signed", "none"])
def test_every_kind_of_residual_is_scaled_also_the_image_in_its_place(kind, scale):
    images = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    plain, scaled = (npr_residual(jnp.asarray(images), residual=Residual(kind, factor)) for factor in (1.0, scale))
    np.testing.assert_array_equal(scaled, plain * np.float32(scale))
    if kind == "none":
        np.testing.assert_array_equal(plain, images[:, :4])
