"""Batches of images that live on the devices, and the same from the host. As a program: on eight devices, each way of placing."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from lfm_jax import config
from lfm_jax.data.batch import split_into_parts
from lfm_jax.data.images import ImageError
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.prepare.align import fake_path
from lfm_jax.runtime import sharding
from lfm_jax.training import loop, resident
from tests.helpers import pipelines
from tests.helpers.launching import same_weights
from tests.helpers.training import small_config, without_pictures

BATCH = 16
CROPS = {"resize": 48, "crop": 40}
WHOLE = {"resize": 48, "crop": 0}
SEVERAL_SIZES = {"resize": 0, "crop": 40}
DEGRADED = (
    SEVERAL_SIZES
    | {"augment_on": "device", "augment.after_resize": False, "augment.around_crop": True}
    | {f"augment.{name}.p": 0.5 for name in ("scale", "blur", "noise", "jpeg", "first_jpeg")}
)


class Pictures(pipelines.Pictures):
    """Several sizes; number 3 cannot be read, and number 4 is smaller than a crop of 40."""

    sizes = ((90, 120), (200, 150), (260, 41), (64, 64), (39, 80), (300, 300), (61, 47), (48, 48))

    def __init__(self):
        super().__init__(self.sizes, "camera/0_real/{}.png")

    def image(self, index):
        if index == 3:
            raise ImageError("not an image")
        return super().image(index)


def data_config(**fields):
    data = config.data()
    data.update_from_flattened_dict({"threads": 2, "max_broken_share": 1.0} | fields)
    return data


def with_aligned_fakes(folder, pictures):
    """Fields for pairs of each photograph and its negative, of which one is missing."""
    for example, image in zip(pictures.examples, pictures.images, strict=True):
        if example.label == 0 and not example.path.endswith("6.png"):
            file = Path(folder) / fake_path(example.path)
            file.parent.mkdir(parents=True, exist_ok=True)
            image.point(lambda value: 255 - value).save(file)
    return {"aligned.share": 0.5, "aligned.root": str(folder)}


def both(source, fields, *, steps=3, views=1, parts=1):
    """The batches of a run from the host and with the images on the devices, as they come to the step."""
    mesh = sharding.data_mesh()
    axis = int(parts > 1)
    placed = sharding.split_batch(mesh, axis=axis)

    def batches(pipeline):
        read = pipeline.batches(2, 2 + steps, BATCH, parts=parts)
        return sharding.to_devices((split_into_parts(batch, parts) for batch in read), placed)

    host, here = (TrainPipeline(source, data_config(**fields), seed=3, views=views) for _ in range(2))
    give_images = resident.load(here, mesh, axis=axis)
    return list(batches(host)), list(map(give_images, batches(here))), host, here


def flat(array, dimensions):
    """An array on the host without the axes of parts and views; degrading is then compiled once for all tests."""
    return np.asarray(array).reshape(-1, *array.shape[-dimensions:])


DEGRADE = jax.jit(lambda degradation, images, draws: degradation(images, draws), static_argnums=0)


def assert_same(fields, **options):
    """The batches are the same to the bit, and lie alike on the devices; where these degrade, what comes of it is the same."""
    expected, given, host, here = both(Pictures(), fields, **options)
    for one, other in zip(expected, given, strict=True):
        assert one.keys() == other.keys()
        images = [(batch["image"], batch.get("draws")) for batch in (one, other)]
        if host.degradation:
            degraded = [DEGRADE(host.degradation, *map(flat, arrays, (3, 1))) for arrays in images]
            np.testing.assert_array_equal(*map(np.asarray, degraded))
        for name in one.keys() - ({"image"} if host.degradation else set()):
            np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]))
        for name in one:
            assert (one[name].dtype, one[name].sharding) == (other[name].dtype, other[name].sharding)
    assert host.broken.keys() == here.broken.keys()


def on_eight_devices(root, out):
    """Compares batches in both ways of placing, and trains in shards as from the host."""
    assert jax.device_count() == 8
    for share in (1.0, 0.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resident, "ON_EVERY_DEVICE", share)
            for fields, options in ((CROPS, {"parts": 2}), (SEVERAL_SIZES, {"views": 2}), (DEGRADED, {"steps": 2})):
                assert_same(fields, **options)
            if share == 0:
                loop.train_and_evaluate(small_config(root, **{"data.resident": True, "eval.test": False}), out / "resident")
    loop.train_and_evaluate(small_config(root, **{"eval.test": False}), out / "host")
    assert same_weights(out / "resident", out / "host")


if __name__ == "__main__":
    with without_pictures():
        on_eight_devices(sys.argv[1], Path(sys.argv[2]))
