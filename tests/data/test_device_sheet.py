"""`lfm data look` with degradation on the device shows what the training step makes of the batches, not what the host would."""

import jax
import numpy as np
import pytest

from lfm_jax import config
from lfm_jax.data.contact_sheet import CAPTION, GAP, augmentation_sheet
from lfm_jax.data.device_draws import window_and_draws
from lfm_jax.data.on_device import degradation_of
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.runtime.rng import Stream, host_rng

CROP = 40


@pytest.fixture
def source(tmp_path, noise):
    for label, name in enumerate(("0_real", "1_fake")):
        path = tmp_path / "gan" / name / "0.png"
        path.parent.mkdir(parents=True)
        noise(60, 70, seed=label).save(path)
    return open_folder(tmp_path)


def data_config(on):
    data = config.data()
    data.update(resize=0, crop=CROP, augment_on=on)
    data.augment.after_resize = False
    data.augment.noise.update(p=1.0, sigma=(20.0, 20.0))  # which host and device draw by other numbers
    data.augment.jpeg.update(p=0.5, quality=(60, 90))
    return data


def tiles(sheet, rows, columns):
    pixels, below = np.asarray(sheet), CROP + CAPTION + GAP
    starts = [(row * below + CAPTION, column * (CROP + GAP)) for row in range(rows) for column in range(columns)]
    return np.stack([pixels[top : top + CROP, left : left + CROP] for top, left in starts])


def test_every_tile_is_what_the_step_gets(source):
    data = data_config("device")
    degradation = degradation_of(data)
    shown = tiles(augmentation_sheet(source, data, seed=5, images=2, draws=3), 2, 3)
    pairs = [window_and_draws(source.image(n // 3), data, host_rng(5, Stream.AUGMENT, n), degradation) for n in range(6)]
    expected = jax.jit(degradation)(*(np.stack(arrays) for arrays in zip(*pairs, strict=True)))
    np.testing.assert_array_equal(shown, expected)
    by_host = tiles(augmentation_sheet(source, data_config("host"), seed=5, images=2, draws=3), 2, 3)
    assert (shown != by_host).mean() > 0.5
    assert np.abs(shown.astype(float).mean((1, 2, 3)) - by_host.mean((1, 2, 3))).max() < 3  # the same crops, flips and strengths


def test_a_broken_image_does_not_hide_the_others(source, tmp_path):
    (tmp_path / "gan/0_real/0.png").write_bytes(b"no image")
    sheet = augmentation_sheet(source, data_config("device"), seed=0, images=2)
    assert sheet.height == CROP + 2 * (CAPTION + GAP)
