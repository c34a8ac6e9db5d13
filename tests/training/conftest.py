"""The small run that the tests of training start from or compare with; trained once in a session."""

import numpy as np
import pytest
from PIL import Image

from lfm_jax.training.loop import train_and_evaluate
from tests.helpers.training import small_config, steps_traced_once, without_pictures


@pytest.fixture(autouse=True)
def no_pictures():
    """For the runs of single tests; `whole_run` has a page and pictures, as have those of other processes."""
    with without_pictures():
        yield


@pytest.fixture(scope="session", autouse=True)
def one_trace():
    with steps_traced_once():
        yield


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """A folder with the three splits: noise as real, noise enlarged to twice its size as fake."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 6), ("test", 6)):
        for label in ("0_real", "1_fake"):
            folder = root / split / "noise" / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (56, 56, 3), dtype=np.uint8)
                if label == "1_fake":
                    pixels = pixels[:28, :28].repeat(2, 0).repeat(2, 1)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def whole_run(data_root, tmp_path_factory):
    """The workdir of an uninterrupted run of `small_config`, and its test results."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train_and_evaluate(small_config(data_root), workdir)
