"""The layout of a batch: what is stated once is what the pipeline reads."""

import numpy as np
import pytest
from PIL import Image

from lfm_jax import config as config_lib
from lfm_jax.data.batch import batch_shapes, split_into_parts, views_per_image
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Example

SIDE = 8


class Grey:
    """Ten images of one size and alternating labels."""

    name = "grey"
    examples = tuple(Example(f"{index}.png", index % 2) for index in range(10))

    def image(self, index):
        return Image.new("RGB", (12, 12), (index, index, index))


@pytest.mark.parametrize("augment_on", ["host", "device"])
@pytest.mark.parametrize("consistency", [0.0, 0.5])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_batches_have_the_stated_shapes_and_dtypes(accumulate, consistency, augment_on):
    config = config_lib.base()
    config.batch_size, config.accumulate, config.consistency = 6, accumulate, consistency
    config.data.resize, config.data.crop, config.data.augment_on = 0, SIDE, augment_on
    pipeline = TrainPipeline(Grey(), config.data, seed=0, views=views_per_image(config))
    batch = split_into_parts(next(pipeline.batches(0, 1, 6, parts=accumulate)), accumulate)
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == batch_shapes(config, SIDE)
    lead = (6,) if accumulate == 1 else (3, 2)
    assert batch["image"].shape == (*lead, *((2,) if consistency else ()), SIDE, SIDE, 3)


def test_the_parts_of_a_batch_are_stretches_of_it_in_order():
    whole = {"label": np.arange(6), "image": np.arange(24).reshape(6, 4)}
    parts = split_into_parts(whole, 2)
    assert parts["label"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.array_equal(parts["image"].reshape(6, 4), whole["image"])
