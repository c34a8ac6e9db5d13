"""A training set that lives on the devices gives the batches, and the training, that the host would give."""

import pickle
import signal

import numpy as np
import pytest

from lfm_jax import config as config_lib
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.resident import packed
from lfm_jax.errors import ConfigError, PreemptedError
from lfm_jax.runtime import sharding
from lfm_jax.training import resident, writers
from lfm_jax.training.loop import train_and_evaluate
from tests.helpers import resident as helper
from tests.helpers.launching import same_weights, values
from tests.helpers.resident import CROPS, DEGRADED, SEVERAL_SIZES, WHOLE, Pictures, assert_same, data_config
from tests.helpers.training import python, signal_in_step, small_config


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        (CROPS, {}),
        (CROPS | {"flip": False, "balance": "class"}, {}),
        (WHOLE, {"parts": 2}),
        (SEVERAL_SIZES, {"views": 2, "parts": 2}),
        (DEGRADED, {}),
        (DEGRADED, {"views": 2, "steps": 1}),
    ],
    ids=str,
)
def test_batches_are_the_hosts_to_the_bit(fields, options):
    assert_same(fields, **options)


@pytest.mark.parametrize("fields", [SEVERAL_SIZES, DEGRADED], ids=str)
def test_aligned_fakes_lie_there_too(fields, tmp_path):
    assert_same(fields | helper.with_aligned_fakes(tmp_path, Pictures()), steps=6)


@pytest.mark.slow
def test_the_same_on_eight_devices_each_with_all_images_or_a_share(data_root, tmp_path):
    ran = python("-m", "tests.helpers.resident", data_root, tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=8")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "training images lie in shards over the devices: " in ran.stderr


def test_training_is_the_hosts_to_the_bit_and_resumes_so(whole_run, data_root, tmp_path, monkeypatch):
    config = small_config(data_root, **{"data.resident": True})
    signal_in_step(monkeypatch, 3, signal.SIGTERM)
    with pytest.raises(PreemptedError, match="a checkpoint of step 3 is saved"):
        train_and_evaluate(config, tmp_path)
    monkeypatch.undo()
    train_and_evaluate(config, tmp_path)
    assert values(writers.read(tmp_path)) == values(writers.read(whole_run[0]))
    assert same_weights(tmp_path, whole_run[0])


def test_a_finished_run_reads_no_images_again(whole_run, data_root, monkeypatch):
    monkeypatch.delattr(resident, "load")
    train_and_evaluate(small_config(data_root, **{"data.resident": True, "eval.test": False}), whole_run[0])


def test_worker_processes_draw_the_same_places():
    *_, pipeline = helper.both(Pictures(), SEVERAL_SIZES, steps=1)
    copy = pickle.loads(pickle.dumps(pipeline))
    for position in range(24):
        np.testing.assert_array_equal(copy[position]["place"], pipeline[position]["place"])


def test_images_that_do_not_fit_are_refused_with_their_size(monkeypatch):
    monkeypatch.setattr(resident, "memory_limit", lambda: 100_000)
    pipeline = TrainPipeline(Pictures(), data_config(**SEVERAL_SIZES), seed=0)
    with pytest.raises(ConfigError, match=r"config\.data\.resident = True: the training images take at least 0\.\d\d MB"):
        resident.load(pipeline, sharding.data_mesh())
    monkeypatch.setattr(resident, "memory_limit", lambda: 480_000)  # enough for the images, not for the room around them
    pipeline = TrainPipeline(Pictures(), data_config(**DEGRADED), seed=0)
    with pytest.raises(ConfigError, match=r"more than the 0\.38 MB that they may of a device's memory \(80%\): use more devices"):
        resident.load(pipeline, sharding.data_mesh())


def test_images_of_several_sizes_need_a_crop():
    pipeline = TrainPipeline(Pictures(), data_config(resize=0, crop=0), seed=0)
    with pytest.raises(ConfigError, match=r"images of 7 sizes \(39 x 80, .*\.\.\.\) and config\.data\.crop = 0: set"):
        resident.load(pipeline, sharding.data_mesh())


@pytest.mark.parametrize("field", ["augment", "aligned.augment"])
def test_degradation_on_the_host_is_refused(field):
    config = config_lib.base()
    config.update_from_flattened_dict({"steps": 1, "data.resident": True, "data.aligned.share": 0.5, f"data.{field}.jpeg.p": 0.5})
    with pytest.raises(ConfigError, match=rf"config\.data\.{field} degrades with config\.data\.augment_on = \"host\""):
        config_lib.validate(config)
    config.data.augment_on = "device"
    config_lib.validate(config)


@pytest.mark.parametrize("shards", [1, 3])
def test_no_two_images_overlap_and_little_room_is_lost(shards):
    rng = np.random.default_rng(0)
    sizes = [(0, 0), *map(tuple, rng.integers(100, 300, (400, 2)).tolist())]
    layout = packed(sizes, shards=shards)
    taken = np.zeros((shards, layout.rows, layout.columns), np.int8)
    for (width, height), (shard, row, column) in zip(sizes, layout.places, strict=True):
        taken[shard, row : row + height, column : column + width] += 1
    assert taken.max() == 1
    assert taken.mean() > 0.85
    equal = packed([(64, 64)] * 60)
    assert equal.rows * equal.columns <= 1.1 * 60 * 64 * 64
