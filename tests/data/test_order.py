"""Which image stands where: balanced by class, source and format, repeatable, with others in place of broken ones."""

from collections import Counter

import pytest

from lfm_jax.data.order import training_order
from lfm_jax.data.sources.base import Example
from lfm_jax.errors import DataError

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


def test_without_balance_each_image_comes_once_an_epoch():
    order, size = training_order(EXAMPLES, "none", seed=0), len(EXAMPLES)
    for epoch in range(2):
        assert sorted(order(epoch * size + offset, 0) for offset in range(size)) == list(range(size))
