"""The convolution by minimal filtering against the plain one."""

import numpy as np
import pytest

from lfm_jax.ops.conv import conv2x2
from lfm_jax.ops.tiles import conv2x2_windows, tile_kernel


@pytest.mark.parametrize("size", [(7, 9), (3, 3), (6, 5), (5, 8), (4, 6)])
def test_its_windows_are_the_convolution(size):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, *size, 8)).astype(np.float32), rng.normal(size=(2, 2, 8, 4)).astype(np.float32)
    expected = np.asarray(conv2x2(x, kernel))
    for number, window in enumerate(conv2x2_windows(x, tile_kernel(kernel))):
        part = expected[:, number // 2 :: 2, number % 2 :: 2]
        assert window.shape[1:3] == (size[0] // 2, size[1] // 2)
        np.testing.assert_allclose(window[:, : part.shape[1], : part.shape[2]], part, rtol=1e-5, atol=1e-5)
