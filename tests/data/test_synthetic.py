"""The built-in data: deterministic, balanced, with unseen generators in test and up-sampling as the only signal."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from lfm_jax.data.synthetic import GENERATORS, MIN_SIDE, example

SIDE = 96


def draw(split: str, count: int, label: int | None = None, side: int = SIDE) -> list[np.ndarray]:
    """The first `count` images of a split, of one label or of both."""
    step = 1 if label is None else 2
    return [example(0, split, index, side)[0] for index in range(label or 0, (label or 0) + step * count, step)]


def grid_trace(image: np.ndarray) -> float:
    """How much the roughness of an image [n, n, 3] depends on the position in the 2 x 2 grid; about 0 for photographs.

    A photograph is statistically the same at every pixel. After a x2 up-sampling the four positions of the grid
    are made by four different filters, so the residual of a pixel against its neighbours has four different
    sizes. The logarithm keeps the few pixels on edges from deciding.
    """
    grey = image.astype(np.float64).mean(2)
    neighbours = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]) / 4.0
    residual = np.log(np.abs(grey[1:-1, 1:-1] - neighbours) + 0.5)
    across = np.log(np.abs(np.diff(grey, axis=1)) + 0.5)
    down = np.log(np.abs(np.diff(grey, axis=0)) + 0.5)
    sizes = [residual[row::2, column::2].mean() for row in (0, 1) for column in (0, 1)]
    gaps = [across[:, ::2].mean() - across[:, 1::2].mean(), down[::2].mean() - down[1::2].mean()]
    return max(np.ptp(sizes), *np.abs(gaps))


def rank_auc(real: np.ndarray, fake: np.ndarray) -> float:
    """Probability that a fake has the larger value: 0.5 is no signal, 1 and 0 are full separation."""
    return float((fake[:, None] > real).mean() + 0.5 * (fake[:, None] == real).mean())


def test_an_example_is_a_pure_function_of_its_arguments() -> None:
    for index in (0, 1, 15):
        first, again = example(3, "train", index, SIDE), example(3, "train", index, SIDE)
        assert np.array_equal(first[0], again[0])
        assert first[1:] == again[1:]


def test_examples_do_not_depend_on_what_was_drawn_before() -> None:
    alone = example(0, "val", 7, SIDE)[0]
    for index in range(7):
        example(0, "val", index, SIDE)
    assert np.array_equal(alone, example(0, "val", 7, SIDE)[0])


def test_seed_split_and_index_each_give_other_scenes() -> None:
    keys = [(seed, split, index) for seed in (0, 1) for split in GENERATORS for index in range(8)]
    images = {example(*key, SIDE)[0].tobytes() for key in keys}
    assert len(images) == len(keys)
    # Not even alike: the same scene with other noise would correlate.
    first, second = (example(0, split, 0, SIDE)[0].astype(float).ravel() for split in ("train", "val"))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


@pytest.mark.parametrize("side", [MIN_SIDE, 65, 96, 127, 200])
@pytest.mark.parametrize("index", [0, 1, 9])
def test_image_has_the_side_asked_for(side: int, index: int) -> None:
    image, _, _ = example(0, "train", index, side)
    assert image.shape == (side, side, 3)
    assert image.dtype == np.uint8
    assert image.std() > 1.0


@pytest.mark.parametrize("split", list(GENERATORS))
def test_every_generator_has_as_many_fakes_as_reals(split: str) -> None:
    rounds = 2
    rows = Counter(example(0, split, index, MIN_SIDE)[1:] for index in range(2 * rounds * len(GENERATORS[split])))
    assert rows == {(label, name): rounds for label in (0, 1) for name in GENERATORS[split]}


def test_test_generators_are_unseen_and_val_has_those_of_train() -> None:
    assert GENERATORS["val"] == GENERATORS["train"]
    assert not set(GENERATORS["test"]) & set(GENERATORS["train"])
    for names in GENERATORS.values():
        assert len(set(names)) == len(names)


def test_bad_arguments_say_the_value_and_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"'dev'.*train, val, test"):
        example(0, "dev", 0, SIDE)
    with pytest.raises(ValueError, match=rf"{MIN_SIDE - 1}.*{MIN_SIDE}"):
        example(0, "train", 0, MIN_SIDE - 1)


def spectrum_slope(image: np.ndarray) -> float:
    """alpha of the power 1 / f^alpha of an image [n, n, 3], from ring means between 0.03 and 0.16 cycles per pixel.

    Below that band lies the window, above it the optics and the noise.
    """
    grey = image.astype(np.float64).mean(2)
    window = np.hanning(len(grey))[:, None] * np.hanning(len(grey))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(len(grey))[:, None], np.fft.fftfreq(len(grey)))
    edges = np.geomspace(0.03, 0.16, 8)
    rings = [power[(low <= frequency) & (frequency < high)].mean() for low, high in pairwise(edges)]
    return float(-np.polyfit(np.log(edges[:-1] * edges[1:]) / 2.0, np.log(rings), 1)[0])


def test_power_of_reals_falls_like_that_of_photographs() -> None:
    """White noise has alpha 0, photographs 2 to 3.5, a heavy blur or a plain gradient more."""
    slopes = [spectrum_slope(image) for image in draw("train", 48, label=0)]
    assert 2.0 < np.median(slopes) < 3.5
    assert np.ptp(slopes) > 0.8  # scenes differ in it


def test_fakes_carry_the_trace_of_up_sampling_and_reals_do_not() -> None:
    real = np.array([grid_trace(image) for image in draw("test", 64, label=0)])
    fake = np.array([grid_trace(image) for image in draw("test", 64, label=1)])
    assert np.median(real) < 0.06
    assert np.median(fake) > 5.0 * np.median(real)
    assert rank_auc(real, fake) > 0.95


def test_no_global_statistic_gives_the_label_away() -> None:
    statistics = {
        "brightness": np.mean,
        "contrast": np.std,
        "saturated": lambda image: np.mean((image == 0) | (image == 255)),
        "colour": lambda image: np.std(image - image.mean(2, keepdims=True)),
        "gradient": lambda image: np.square(np.diff(image.astype(np.float64), axis=1)).mean(),
    }
    real, fake = draw("test", 96, label=0), draw("test", 96, label=1)
    for name, statistic in statistics.items():
        auc = rank_auc(np.array([statistic(x) for x in real]), np.array([statistic(x) for x in fake]))
        assert 0.35 < auc < 0.65, name
