"""Training goes on beside files that are broken or hang, up to the share that the config allows, and names them."""

import collections
import threading

import pytest
from PIL import Image

from lfm_jax.errors import DataError
from tests.helpers.pipelines import Drawn, assert_same, pipeline, read


def test_a_broken_file_is_replaced_by_the_next_in_the_epoch():
    order = read(pipeline().batches(0, 1, 10))["index"].tolist()
    broken = {order[3], order[4], order[9]}
    examples = pipeline(Drawn(broken=broken), max_broken_share=0.5)
    expected = order[:3] + [order[5]] * 3 + order[6:9] + [order[0]]
    assert read(examples.batches(0, 1, 10))["index"].tolist() == expected
    assert examples.broken == {f"{index}.png": "truncated" for index in broken}


def test_broken_files_do_not_change_the_other_positions():
    whole, holed = (pipeline(Drawn(broken=broken), max_broken_share=0.5) for broken in ((), (4,)))
    expected, actual = read(whole.batches(0, 3, 10)), read(holed.batches(0, 3, 10))
    usable = expected["index"] != 4
    assert_same({name: rows[usable] for name, rows in actual.items()}, {name: rows[usable] for name, rows in expected.items()})
    assert 4 not in actual["index"]


def test_broken_files_do_not_make_batches_depend_on_threads():
    first, second = (pipeline(Drawn(broken=(1, 5)), threads=threads, max_broken_share=0.5) for threads in (1, 8))
    assert_same(read(first.batches(0, 5, 4)), read(second.batches(0, 5, 4)))


def test_as_many_broken_files_as_the_share_allows_are_left_out():
    examples = pipeline(Drawn(broken=(1, 5)), max_broken_share=0.2)
    assert not {1, 5} & set(read(examples.batches(0, 5, 4))["index"].tolist())
    assert set(examples.broken) == {"1.png", "5.png"}


def test_more_broken_files_than_the_share_allows_end_the_run_and_are_named():
    examples = pipeline(Drawn(broken=(1, 5, 6)), max_broken_share=0.2)
    with pytest.raises(DataError, match=r"config\.data\.max_broken_share = 0\.2") as refused:
        list(examples.batches(0, 5, 4))
    assert "3 of 10" in str(refused.value)
    assert {f"{index}.png: truncated" for index in (1, 5, 6)} <= {line.strip() for line in str(refused.value).splitlines()}


def test_a_broken_file_read_again_counts_once():
    examples = pipeline(Drawn(broken=(1,)), max_broken_share=0.1)
    assert len(read(examples.batches(0, 10, 10))["index"]) == 100


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_nothing_but_broken_files_ends_the_run(share):
    with pytest.raises(DataError):
        list(pipeline(Drawn(broken=range(10)), max_broken_share=share).batches(0, 1, 4))


def test_images_too_small_for_the_crop_count_as_broken():
    with pytest.raises(DataError, match=r"config\.data\.crop = 16"):
        list(pipeline(crop=16, max_broken_share=0.0).batches(0, 1, 4))


def test_images_of_several_sizes_need_a_crop_and_the_field_is_named():
    source = Drawn()
    source.image = lambda index: Image.new("RGB", (8 + index, 8))
    with pytest.raises(DataError, match=r"config\.data\.crop"):
        list(pipeline(source, crop=0).batches(0, 1, 4))


class Hanging(Drawn):
    """The files in `slow` cannot be read until `released` is set."""

    def __init__(self, slow):
        super().__init__()
        self.slow, self.released, self.asked = set(slow), threading.Event(), collections.Counter()

    def image(self, index):
        self.asked[index] += 1
        if index in self.slow:
            self.released.wait()
        return super().image(index)


@pytest.fixture
def hanging():
    source = Hanging(slow=(4,))
    yield source
    source.released.set()


def test_a_file_that_hangs_is_replaced_by_the_next_named_and_not_tried_again(hanging):
    broken = read(pipeline(Drawn(broken=(4,)), max_broken_share=0.5).batches(0, 6, 5))
    examples = pipeline(hanging, timeout_seconds=0.5, max_broken_share=0.5)
    assert_same(read(examples.batches(0, 6, 5)), broken)
    assert examples.broken == {"4.png": "not read within config.data.timeout_seconds = 0.5"}
    assert hanging.asked[4] <= 2  # by both threads at once at most


def test_more_hanging_files_than_the_share_allows_end_the_run(hanging):
    with pytest.raises(DataError, match=r"4\.png: not read within config\.data\.timeout_seconds"):
        read(pipeline(hanging, timeout_seconds=0.2, max_broken_share=0.0).batches(0, 2, 10))


def test_a_time_limit_changes_nothing_if_every_file_meets_it():
    expected = read(pipeline(Drawn(broken=(1,)), max_broken_share=0.5).batches(0, 3, 10))
    assert_same(read(pipeline(Drawn(broken=(1,)), max_broken_share=0.5, timeout_seconds=60.0).batches(0, 3, 10)), expected)
