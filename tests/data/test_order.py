"""Which image stands where: balanced by class, source and format, repeatable, with others in place of broken ones."""

import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from lfm_jax.data.order import SHUFFLES, training_order
from lfm_jax.data.sources.base import Example
from lfm_jax.errors import DataError
from lfm_jax.runtime.rng import Stream, host_rng

LARGE, SMALL = 90, 10
EXAMPLES = [
    *(Example(f"camera/0_real/{number}.png", 0, "set", "camera") for number in range(LARGE)),
    *(Example(f"phone/0_real/{number}.png", 0, "set", "phone") for number in range(SMALL)),
    *(Example(f"diffusion/1_fake/{number}.png", 1, "set", "diffusion") for number in range(SMALL)),
]
POSITIONS = 4000


@pytest.fixture(scope="module")
def by_source():
    order = training_order(EXAMPLES, "source", seed=3)
    return [order(position, 0) for position in range(POSITIONS)]


def test_classes_take_turns_when_they_are_balanced():
    for balance in ("class", "source"):
        order = training_order(EXAMPLES, balance, seed=0)
        assert [EXAMPLES[order(position, 0)].label for position in range(20)] == [0, 1] * 10


def test_a_source_is_drawn_by_the_square_root_of_its_size(by_source):
    drawn = Counter(EXAMPLES[index].generator for index in by_source)
    assert drawn["camera"] / drawn["phone"] == pytest.approx((LARGE / SMALL) ** 0.5, rel=0.1)
    assert drawn["diffusion"] == POSITIONS // 2


def test_by_class_every_image_of_a_class_is_as_likely():
    order = training_order(EXAMPLES, "class", seed=0)
    drawn = Counter(EXAMPLES[order(position, 0)].generator for position in range(0, POSITIONS, 2))
    assert drawn["camera"] / drawn["phone"] == pytest.approx(LARGE / SMALL, rel=0.2)


def of_format(suffix, label, count, generator):
    return [Example(f"{generator}/{number}{suffix}", label, "set", generator) for number in range(count)]


def test_by_format_the_format_says_nothing_of_the_class():
    """Although JPEG leans real and PNG leans fake, as files do. A format counts by the square root of its rarer class."""
    examples = [
        *of_format(".jpg", 0, 90, "camera"),
        *of_format(".JPEG", 0, 10, "phone"),
        *of_format(".png", 0, 4, "camera"),
        *of_format(".jpg", 1, 16, "gan"),
        *of_format(".png", 1, 90, "diffusion"),
        *of_format(".webp", 1, 30, "diffusion"),
    ]
    order = training_order(examples, "format", seed=5)
    drawn = [examples[order(position, 0)] for position in range(POSITIONS)]
    assert [example.label for example in drawn] == [0, 1] * (POSITIONS // 2)
    counts = Counter((example.label, example.path.rsplit(".", 1)[1].lower().replace("jpeg", "jpg")) for example in drawn)
    assert set(counts) == {(0, "jpg"), (0, "png"), (1, "jpg"), (1, "png")}  # no photograph is a WebP
    for label in (0, 1):
        assert counts[label, "jpg"] / counts[label, "png"] == pytest.approx((16 / 4) ** 0.5, rel=0.15)
    cameras = Counter(example.generator for example in drawn if example.label == 0 and not example.path.endswith(".png"))
    assert cameras["camera"] / cameras["phone"] == pytest.approx((90 / 10) ** 0.5, rel=0.2)


def test_without_a_format_that_both_classes_have_there_is_no_balance_by_format():
    examples = [*of_format(".jpg", 0, 3, "camera"), *of_format(".png", 1, 3, "gan")]
    with pytest.raises(DataError, match="real: JPEG; fake: PNG"):
        training_order(examples, "format", seed=0)
    photographs = training_order(examples[:3], "format", seed=0)  # as of aligned pairs: one class is balanced among itself
    assert {photographs(position, 0) for position in range(50)} == {0, 1, 2}


def test_every_image_is_drawn(by_source):
    assert set(by_source) == set(range(len(EXAMPLES)))


def test_the_seed_and_the_attempt_change_the_draw_and_nothing_else_does(by_source):
    again, other = (training_order(EXAMPLES, "source", seed=seed) for seed in (3, 4))
    places = range(500, 600)
    assert [again(position, 0) for position in places] == by_source[500:600]
    assert [other(position, 0) for position in places] != by_source[500:600]
    stand_ins = [again(position, 1) for position in places]
    assert stand_ins != by_source[500:600]
    assert [EXAMPLES[index].label for index in stand_ins] == [EXAMPLES[index].label for index in by_source[500:600]]


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("size", [1, 2, 7, len(EXAMPLES)])
def test_without_balance_each_image_comes_once_an_epoch(shuffle, size):
    order = training_order(EXAMPLES[:size], "none", seed=0, shuffle=shuffle)
    epochs = [[order(epoch * size + offset, 0) for offset in range(size)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    if size > 2:
        assert epochs[0] != epochs[1] != epochs[2]


def test_the_old_order_stays_the_default():
    order = training_order(EXAMPLES, "none", seed=4)
    for epoch in range(2):
        expected = host_rng(4, Stream.SHUFFLE, epoch).permutation(len(EXAMPLES)).tolist()
        assert [order(epoch * len(EXAMPLES) + offset, 0) for offset in range(len(EXAMPLES))] == expected


class Many:
    """As many examples as asked for, none of them in memory."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


def peak_of(shuffle, size):
    """Bytes at most while eight threads come to a new epoch at once, and what they get."""
    order = training_order(Many(size), "none", seed=0, shuffle=shuffle)
    order(0, 0)
    tracemalloc.start()
    with ThreadPoolExecutor(8) as pool:
        indices = list(pool.map(lambda place: order(size + place, 0), range(64)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, indices


def test_threads_share_one_permutation():
    peak, indices = peak_of("permutation", 1_000_000)
    assert peak < 16e6  # eight bytes per image while it is made and four of it kept; each thread its own would be 64e6
    assert len(set(indices)) == 64


def test_grains_shuffle_takes_no_memory_for_any_number_of_images():
    peak, indices = peak_of("grain", 100_000_000)
    assert peak < 1e6
    assert len(set(indices)) == 64
    assert max(indices) > 50_000_000 > min(indices)
