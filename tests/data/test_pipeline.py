"""Training batches: the same however they are read, every example once per epoch, augmentation over its whole range."""

import collections
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lfm_jax import config
from lfm_jax.data import augmentations
from lfm_jax.data.images import ImageError
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.transforms import augment
from tests.helpers.pipelines import HEIGHT, WIDTH, Drawn, assert_same, pipeline, read


class Counting(Drawn):
    """Counts how many images are decoded."""

    decoded = 0

    def image(self, index):
        self.decoded += 1
        return super().image(index)


def test_a_batch_holds_pixels_labels_and_which_example():
    (batch,) = pipeline().batches(0, 1, 8)
    assert {key: (value.dtype, value.shape) for key, value in batch.items()} == {
        "image": (np.uint8, (8, 4, 4, 3)),
        "label": (np.float32, (8,)),
        "index": (np.int32, (8,)),
    }
    np.testing.assert_array_equal(batch["label"], batch["index"] % 2)
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 2], batch["index"])


def test_the_steps_asked_for_are_read_and_no_more():
    assert len(list(pipeline().batches(2, 7, 4))) == 5


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 1), (8, 8), (0, 0)])
def test_threads_and_read_ahead_change_nothing(threads, prefetch):
    expected = read(pipeline(threads=2, prefetch=2).batches(0, 6, 4))
    assert_same(read(pipeline(threads=threads, prefetch=prefetch).batches(0, 6, 4)), expected)


@pytest.mark.parametrize("mib", [0, 1, 100])
@pytest.mark.parametrize(("preset", "after_resize"), [("none", False), ("cnndetection", False), ("cnndetection", True)])
def test_images_kept_from_epoch_to_epoch_change_nothing_and_stay_within_their_memory(mib, preset, after_resize):
    """Six images in three epochs: 256 KiB each once resized, 781 KiB before."""
    augment = {**getattr(augmentations, preset)().to_dict(), "after_resize": after_resize}
    fields = {"resize": 256, "crop": 224, "augment": augment, "threads": 1}
    plain, kept = Counting(6, shape=(400, 500)), Counting(6, shape=(400, 500))
    assert_same(
        read(pipeline(kept, **fields, cache_mib=mib).batches(0, 6, 3)),
        read(pipeline(plain, **fields, cache_mib=0).batches(0, 6, 3)),
    )
    is_resized_first = preset == "none" or after_resize
    fit = {0: 0, 1: 4 if is_resized_first else 1, 100: 6}[mib]
    assert plain.decoded == 18
    assert kept.decoded == fit + 3 * (6 - fit)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_slices_of_the_processes_make_up_the_global_batch(processes):
    whole = list(pipeline().batches(1, 4, 8))
    slices = [list(pipeline().batches(1, 4, 8, process=p, processes=processes)) for p in range(processes)]
    for step, batch in enumerate(whole):
        parts = [part[step] for part in slices]
        assert {len(part["label"]) for part in parts} == {8 // processes}
        assert_same({key: np.concatenate([part[key] for part in parts]) for key in batch}, batch)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_parts_of_an_accumulated_batch_are_the_batch_in_order_whatever_the_processes(processes):
    """Part j holds the j-th stretch of the global batch, and each process a slice of every part."""
    whole = next(pipeline().batches(1, 2, 16))
    slices = [next(pipeline().batches(1, 2, 16, parts=2, process=p, processes=processes)) for p in range(processes)]
    for name in whole:
        in_parts = [part[name].reshape(2, 8 // processes, *part[name].shape[1:]) for part in slices]
        np.testing.assert_array_equal(np.concatenate(in_parts, axis=1).reshape(whole[name].shape), whole[name])


@pytest.mark.parametrize("first", [1, 2, 5, 6])
def test_a_run_resumed_at_any_step_reads_what_it_would_have_read(first):
    whole = read(pipeline().batches(0, 7, 3))
    resumed = read(pipeline().batches(first, 7, 3))
    assert_same(resumed, {key: value[3 * first :] for key, value in whole.items()})


@given(seed=st.integers(0, 2**31), position=st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_an_example_depends_on_seed_and_position_alone(seed, position):
    used = pipeline(seed=seed)
    for other in (position + 1, 0, position + 25):
        used[other]
    assert_same(used[position], pipeline(seed=seed)[position])


def test_batch_size_only_cuts_the_same_sequence_differently():
    assert_same(read(pipeline().batches(0, 6, 4)), read(pipeline().batches(0, 2, 12)))


@given(size=st.integers(1, 12), seed=st.integers(0, 100), epoch=st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_every_epoch_has_each_example_once(size, seed, epoch):
    examples = pipeline(Drawn(size), seed=seed)
    indices = [int(examples[epoch * size + i]["index"]) for i in range(size)]
    assert sorted(indices) == list(range(size))


def test_a_batch_may_reach_over_the_end_of_an_epoch():
    indices = read(pipeline().batches(0, 5, 6))["index"]
    for epoch in indices.reshape(3, 10):
        assert sorted(epoch) == list(range(10))


def test_epochs_and_seeds_differ_in_order():
    orders = {
        tuple(read(pipeline(Drawn(20), seed=seed).batches(0, 4, 20))["index"].reshape(4, 20)[e])
        for seed in (0, 1)
        for e in range(4)
    }
    assert len(orders) == 8


def test_every_crop_and_flip_is_drawn_about_as_often():
    images = read(pipeline(Drawn(50)).batches(0, 24, 100))["image"].astype(int)
    flipped = images[:, 0, 0, 1] > images[:, 0, -1, 1]
    seen = collections.Counter(zip(images[:, 0, 0, 0], images[:, 0, :, 1].min(1), flipped, strict=True))
    every = set(itertools.product(range(HEIGHT - 4 + 1), range(WIDTH - 4 + 1), (False, True)))
    assert set(seen) == every
    expected = len(images) / len(every)  # 100; 5 standard deviations are 50
    assert all(expected / 2 < count < 3 * expected / 2 for count in seen.values())


def test_an_example_is_augmented_differently_in_each_epoch():
    examples = pipeline(Drawn(1))
    assert len({examples[epoch]["image"].tobytes() for epoch in range(20)}) > 5


def test_of_two_views_the_first_is_that_of_a_run_with_one_and_the_second_is_another():
    one = read(pipeline().batches(0, 3, 8))
    two = read(TrainPipeline(Drawn(), pipeline().config, seed=0, views=2).batches(0, 3, 8))
    assert_same(two | {"image": two["image"][:, 0]}, one)
    first, second = np.moveaxis(two["image"], 1, 0)
    assert np.array_equal(second[:, 0, 0, 2], two["index"])  # of the same image
    assert (first != second).any((1, 2, 3)).mean() > 0.5


def test_without_crop_and_flip_the_image_is_unchanged():
    images = read(pipeline(crop=0, flip=False).batches(0, 3, 10))
    for image, index in zip(images["image"], images["index"], strict=True):
        np.testing.assert_array_equal(image, np.asarray(Drawn().image(index)))


def test_resize_is_pils_bilinear_without_aspect(noise):
    data = config.data()
    data.update(resize=8, crop=0, flip=False)
    expected = noise(20, 30).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(augment(noise(20, 30), data, np.random.default_rng(0)), np.asarray(expected))


def test_a_crop_of_the_whole_side_is_the_image(noise):
    data = config.data()
    data.update(resize=0, crop=9, flip=False)
    np.testing.assert_array_equal(augment(noise(9, 9), data, np.random.default_rng(0)), np.asarray(noise(9, 9)))


def test_images_below_the_crop_are_refused_with_the_field(noise):
    data = config.data()
    data.update(resize=0, crop=8)
    with pytest.raises(ImageError, match=r"30 x 7 px.*config\.data\.crop = 8"):
        augment(noise(7, 30), data, np.random.default_rng(0))


@pytest.mark.parametrize(("threads", "processes"), [(1, 1), (8, 1), (2, 4)])
def test_augmented_batches_are_the_same_whatever_the_threads_and_processes(threads, processes):
    data = {"augment": augmentations.equalised(), "crop": 16}
    for part in ("blur", "noise"):
        data["augment"][part].p = 0.5
    source = Drawn(shape=(32, 24))
    expected = list(pipeline(source, **data).batches(2, 4, 8))
    slices = [
        list(pipeline(source, threads=threads, **data).batches(2, 4, 8, process=process, processes=processes))
        for process in range(processes)
    ]
    for step, batch in enumerate(expected):
        assert_same({key: np.concatenate([part[step][key] for part in slices]) for key in batch}, batch)
