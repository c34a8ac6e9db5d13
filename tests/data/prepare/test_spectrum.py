"""A decoder's picture with the photograph's own power at every frequency."""

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from lfm_jax.data.prepare.align import aligned_fake
from lfm_jax.data.prepare.spectrum import with_power_of
from lfm_jax.runtime.rng import Stream, host_rng

HEIGHT, WIDTH = 90, 128
LEFT, RIGHT = slice(8, WIDTH // 2 - 8), slice(WIDTH // 2 + 8, -8)
CHECKERBOARD = np.float32((-1) ** np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None])

RNG = np.random.default_rng(0)
SCENE = np.float32(np.clip(0.5 + 1.5 * gaussian_filter(RNG.normal(size=(HEIGHT, WIDTH, 3)), (4, 4, 0)), 0.1, 0.9))
NOISE = np.float32(RNG.normal(scale=0.02, size=SCENE.shape).clip(-0.08, 0.08))
NOISE[:, WIDTH // 2 :] /= 4  # as a dark half has less
PHOTOGRAPH = SCENE + NOISE


def blurred(image, sigma):
    return gaussian_filter(image, (sigma, sigma, 0))


def power(image):
    """Of each channel, in six octaves of the distance from the mean."""
    squares = np.square(dctn(image, axes=(0, 1), norm="ortho")).reshape(-1, 3)
    distance = np.hypot(np.arange(HEIGHT)[:, None] / HEIGHT, np.arange(WIDTH) / WIDTH).ravel()
    octave = np.clip(np.log2(np.maximum(distance, 1e-6)) + 5, 0, 5).astype(int)
    return np.stack([np.bincount(octave, channel) for channel in squares.T])


@pytest.mark.parametrize("picture", [SCENE, blurred(PHOTOGRAPH, 0.5)], ids=["without noise", "soft"])
def test_what_a_decoder_took_away_is_there_again(picture):
    assert power(picture)[:, -1].max() < 0.5 * power(PHOTOGRAPH)[:, -1].min()
    np.testing.assert_allclose(power(with_power_of(PHOTOGRAPH, picture)), power(PHOTOGRAPH), rtol=0.05)


def test_it_is_other_noise_of_the_same_strength_at_the_same_places():
    other = with_power_of(PHOTOGRAPH, SCENE) - SCENE
    for side in (LEFT, RIGHT):
        assert other[:, side].std() == pytest.approx(NOISE[:, side].std(), rel=0.1)
    assert np.corrcoef(NOISE.ravel(), other.ravel())[0, 1] < -0.9


@pytest.mark.parametrize("strength", [0.005, 0.05], ids=["below the noise", "above it"])
def test_a_decoders_trace_stays(strength):
    matched = with_power_of(PHOTOGRAPH, SCENE + np.float32(strength) * CHECKERBOARD)
    assert abs((PHOTOGRAPH * CHECKERBOARD).mean()) < 0.1 * strength
    assert (matched * CHECKERBOARD).mean() == pytest.approx(strength, rel=0.1)


def test_the_photograph_itself_and_the_ends_of_its_range_stay_as_they_are():
    np.testing.assert_allclose(with_power_of(PHOTOGRAPH, PHOTOGRAPH), PHOTOGRAPH, atol=1e-5)
    cut_off = np.clip(4 * PHOTOGRAPH - 1.5, 0, 1)
    ends = (cut_off == 0) | (cut_off == 1)
    assert 0.05 < ends.mean() < 0.95
    np.testing.assert_array_equal(with_power_of(cut_off, blurred(cut_off, 1))[ends], cut_off[ends])
    assert not with_power_of(np.zeros_like(SCENE), np.zeros_like(SCENE)).any()


def test_a_fake_is_matched_after_the_photograph_was_blended_in():
    """Else the blending would take the noise away again that turning its sign put back."""
    photograph = Image.fromarray(np.uint8(np.rint(PHOTOGRAPH * 255)))

    def sharpness(image):
        return np.abs(np.diff(np.asarray(image, np.float32), axis=1)).mean()

    def decoder(image, noise, seed):
        return gaussian_filter(image, (1, 1, 0))

    for index in range(8):
        plain, matched = (
            aligned_fake(photograph, decoder, host_rng(0, Stream.ALIGN, index), match_power=match) for match in (False, True)
        )
        assert sharpness(plain) < 0.9 * sharpness(photograph)
        assert sharpness(matched) == pytest.approx(sharpness(photograph), rel=0.05)
