"""Augmentations in their order and their place: before or after resizing, whatever is kept in memory, and by the run's seed."""

import numpy as np
import pytest
from PIL import Image

from lfm_jax import config
from lfm_jax.data import augmentations, transforms
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Example

# One strength of each, so that a draw decides nothing but the noise's pixels.
STRENGTHS = {
    "scale": ("factor", (0.8, 0.8)),
    "blur": ("sigma", (1.5, 1.5)),
    "noise": ("sigma", (6.0, 6.0)),
    "jpeg": ("quality", (40, 40)),
    "webp": ("quality", (40, 40)),
}


class Copies:
    """The same image under every index."""

    name = "copies"

    def __init__(self, image, count=8):
        self._image, self.examples = image, [Example(f"{index}.png", index % 2) for index in range(count)]

    def image(self, index):
        return self._image


def data_config(names=(), *, after_resize=True, **fields):
    """No crop and no flip; the augmentations of these names always, at STRENGTHS."""
    data = config.data()
    data.update({"resize": 0, "crop": 0, "flip": False, **fields})
    data.augment = augmentations.none()
    data.augment.after_resize = after_resize
    for name in names:
        data.augment[name].p = 1.0
        amount, bounds = STRENGTHS[name]
        data.augment[name][amount] = bounds
    return data


def pixels(image, data, *, seed=0, position=0, rounds=1):
    """What a batch holds at a position, the last of several times that it is asked for."""
    pipeline = TrainPipeline(Copies(image), data, seed=seed)
    return [pipeline[position]["image"] for _ in range(rounds)][-1]


@pytest.fixture(scope="module")
def smooth(noise):
    """An image whose neighbouring pixels are alike, so that every step leaves its own trace."""
    return noise(12, 15, seed=1).resize((90, 72), Image.Resampling.BICUBIC)


def test_scaling_comes_first_then_blur_then_noise_then_jpeg_then_webp(smooth):
    names = [name for name in STRENGTHS if name != "noise"]
    expected = smooth
    for name in names:
        expected = getattr(transforms, name)(expected, STRENGTHS[name][1][0])
    np.testing.assert_array_equal(pixels(smooth, data_config(names)), np.asarray(expected))


def test_noise_is_added_between_blurring_and_re_encoding():
    """Blur before it leaves noise as strong as it is drawn; JPEG of quality 40 after it takes most of it away."""
    grey = Image.new("RGB", (96, 96), (128, 128, 128))
    strength = STRENGTHS["noise"][1][0]
    assert pixels(grey, data_config(["blur", "noise"])).std() == pytest.approx(strength, rel=0.05)
    assert pixels(grey, data_config(["noise", "jpeg"])).std() < strength / 2


@pytest.mark.parametrize("level", [0, 255])
def test_noise_stops_at_black_and_white(level):
    flat = Image.new("RGB", (32, 32), (level,) * 3)
    noisy = pixels(flat, data_config(["noise"])).astype(int)
    assert 0 < np.abs(noisy - level).max() < 6 * STRENGTHS["noise"][1][0]


@pytest.mark.parametrize("after_resize", [True, False])
@pytest.mark.parametrize("name", [name for name in STRENGTHS if name != "noise"])
def test_each_is_done_where_the_config_says_before_or_after_resizing(smooth, name, after_resize):
    def degraded(image):
        return getattr(transforms, name)(image, STRENGTHS[name][1][0])

    def resized(image):
        return image.resize((48, 48), Image.Resampling.BILINEAR)

    steps = (resized, degraded) if after_resize else (degraded, resized)
    expected = np.asarray(steps[1](steps[0](smooth)))
    data = data_config([name], after_resize=after_resize, resize=48)
    np.testing.assert_array_equal(pixels(smooth, data), expected)


@pytest.mark.parametrize("after_resize", [True, False])
@pytest.mark.parametrize("name", STRENGTHS)
def test_images_kept_in_memory_go_through_what_is_random_each_time(smooth, name, after_resize):
    data = data_config([name], after_resize=after_resize, resize=48)
    data.cache_mib = 0
    expected = pixels(smooth, data)
    data.cache_mib = 64
    np.testing.assert_array_equal(pixels(smooth, data, rounds=2), expected)


@pytest.mark.parametrize("fields", [{"crop": 20}, {"flip": True}], ids=str)
def test_crops_and_flips_are_the_seeds(smooth, fields):
    runs = [[pixels(smooth, data_config(**fields), seed=seed, position=p).tobytes() for p in range(8)] for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
