"""Degradation on the device makes of the same draws what the host makes."""

import jax
import numpy as np
import pytest
from PIL import Image

from lfm_jax import config
from lfm_jax.data.device_draws import window_and_draws
from lfm_jax.data.on_device import degradation_of
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.errors import ConfigError
from tests.helpers import pipelines

BATCH = 8
ALONE = {  # one degradation: its field and range, and how far device and host may differ in levels: share that does, and the most
    "scale": ("factor", (0.5, 1.6), (0.005, 1)),
    "blur": ("sigma", (0.0, 3.0), (0.1, 2)),  # where a value is a whole level but for rounding, scipy may lose it in each pass
    "jpeg": ("quality", (30, 100), (0, 0)),
    "first_jpeg": ("quality", (30, 100), (0, 0)),
}


class Pictures(pipelines.Pictures):
    """Several sizes, one just large enough for the crop of 40."""

    def __init__(self):
        super().__init__(((90, 120), (200, 150), (260, 41), (300, 300)))


def data_config(*, on, **fields):
    data = config.data()
    data.update({"resize": 0, "crop": 40, "augment_on": on})
    data.augment.after_resize = False
    data.update_from_flattened_dict(fields)
    return data


def batches(*, steps=4, views=1, seed=0, **fields):
    """The same batches as the host and as the device make them, uint8 [steps * BATCH, crop, crop, 3]."""
    host, device = (
        list(TrainPipeline(Pictures(), data_config(on=on, **fields), seed=seed, views=views).batches(0, steps, BATCH))
        for on in ("host", "device")
    )
    degrade = jax.jit(degradation_of(data_config(on="device", **fields)))
    windows = [[batch[name].reshape(-1, *batch[name].shape[views:]) for name in ("image", "draws")] for batch in device]
    images = [np.asarray(degrade(*arrays)) for arrays in windows]
    return np.concatenate([batch["image"].reshape(images[0].shape) for batch in host]), np.concatenate(images)


def compare(pair):
    """The share of the values that differ, and by how many levels at most."""
    host, device = pair
    difference = np.abs(host.astype(int) - device)
    return (difference > 0).mean(), difference.max()


@pytest.mark.parametrize("fields", [{}, {"flip": False}, {"resize": 48}], ids=str)
def test_crops_and_flips_are_the_hosts_to_the_bit(fields):
    host, device = batches(**fields)
    np.testing.assert_array_equal(device, host)


@pytest.mark.parametrize("place", [{}, {"augment.around_crop": True}, {"resize": 48, "augment.after_resize": True}], ids=str)
@pytest.mark.parametrize("name", ALONE)
def test_each_degradation_is_the_hosts(name, place):
    strength, bounds, (share, most) = ALONE[name]
    fields = {f"augment.{name}.p": 0.7, f"augment.{name}.{strength}": bounds, **place}
    differing, largest = compare(batches(**fields))
    assert differing <= share
    assert largest <= most


def test_blurring_and_noise_shift_no_level():
    host, device = batches(**{"augment.blur.p": 1.0, "augment.noise.p": 1.0})
    assert device.mean() == pytest.approx(host.mean(), abs=0.5)


def test_noise_is_as_strong_as_the_hosts_and_drawn_for_each_image_and_value():
    host, device = batches(**{"augment.noise.p": 1.0, "augment.noise.sigma": (6.0, 6.0)})
    plain, _ = batches()
    inside = (plain > 30) & (plain < 225)  # where it is not cut off
    added = [np.where(inside, noisy - plain.astype(float), 0) for noisy in (host, device)]
    assert added[1][inside].std() == pytest.approx(added[0][inside].std(), rel=0.02)
    assert abs(added[1][inside].mean()) < 0.1
    rows = added[1].reshape(len(device), -1)
    between = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(between).max() < 0.1


EVERYTHING = {f"augment.{name}.p": 0.5 for name in ("scale", "blur", "noise", "jpeg", "first_jpeg")} | {"augment.untouched": 0.2}


def test_what_is_drawn_is_a_function_of_seed_and_position():
    def arrays(first, batch, seed=0):
        pipeline = TrainPipeline(Pictures(), data_config(on="device", **EVERYTHING), seed=seed)
        read = list(pipeline.batches(first, 24 // batch, batch))
        return [np.concatenate([one[name] for one in read]) for name in ("image", "draws")]

    for whole, later in zip(arrays(0, 4), arrays(4, 4), strict=True):
        np.testing.assert_array_equal(later, whole[16:])
    for whole, other in zip(arrays(0, 4), arrays(0, 12), strict=True):
        np.testing.assert_array_equal(other, whole)
    assert (arrays(0, 4, seed=1)[1] != arrays(0, 4)[1]).any()


@pytest.mark.parametrize("views", [1, 2])
def test_all_of_them_together_are_the_hosts_but_for_the_noise(views):
    fields = EVERYTHING | {"augment.noise.p": 0.0, "augment.blur.p": 0.0, "augment.around_crop": True}
    differing, largest = compare(batches(views=views, **fields))
    assert differing < 0.01
    assert largest < 30  # a level more or less before it is saved may move a coefficient


@pytest.mark.parametrize(("crop", "share"), [(16, 0.5), (101, 0.0)])
def test_the_window_holds_all_that_the_device_needs_of_an_image(crop, share):
    """Pixels outside of it would be weighed with zeros only: the flat image would have black ones."""
    fields = EVERYTHING | {"augment.noise.p": 0.0, "augment.untouched": 0.0}
    fields |= {"aligned.share": share, "aligned.augment.scale.p": 0.5, "aligned.augment.scale.factor": (0.2, 1.0)}
    data = data_config(on="device", crop=crop, **fields)
    degradation, flat = degradation_of(data), Image.new("RGB", (1200, 900), (200, 200, 200))
    degrade = jax.jit(degradation)
    for augment in (data.augment, data.aligned.augment) if share else (data.augment,):
        data.augment = augment
        drawn = [window_and_draws(flat, data, np.random.default_rng(seed), degradation) for seed in range(24)]
        windows, draws = map(np.stack, zip(*drawn, strict=True))
        assert np.abs(np.asarray(degrade(windows, draws)).astype(int) - 200).max() <= 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.augment.webp.p": 0.2, "data.resize": 0}, r"config\.data\.augment\.webp\.p = 0\.2: WebP is made on the host"),
        ({"data.augment.after_resize": False}, r"after_resize = False: .* config\.data\.resize = 256"),
        ({"data.crop": 0}, r"config\.data\.crop = 0"),
        ({"data.aligned.share": 0.1, "data.aligned.augment.webp.p": 0.1}, r"config\.data\.aligned\.augment\.webp\.p = 0\.1"),
        ({"data.augment_on": "gpu"}, r"config\.data\.augment_on = 'gpu': expected host or device"),
    ],
)
def test_what_the_device_cannot_do_is_refused_with_the_field_and_the_way_out(fields, message):
    mistaken = config.base()
    mistaken.steps, mistaken.data.augment_on = 1, "device"
    config.validate(mistaken)
    mistaken.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=message):
        config.validate(mistaken)
