"""Examples in columns: they read like the list that they replace, in a fraction of its memory, and stand where they stood."""

import gc
import pickle
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfm_jax.data.order import BALANCES, training_order
from lfm_jax.data.sources import columns, index
from lfm_jax.data.sources.base import Example
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.data.sources.index import ChosenExamples, Examples, JoinedExamples
from lfm_jax.data.sources.joined import JoinedSource, PartOfSource
from lfm_jax.data.sources.records import Facts, RecordSource

NAMES = st.text("ab/é\0\udcff\ud800\U0001f5bc", max_size=6)
EXAMPLES = st.lists(st.builds(Example, NAMES, st.sampled_from([None, 0, 1]), NAMES, NAMES), max_size=9)


def many(count):
    for number in range(count):
        label, generator = number % 2, f"generator_{number * 20 // count}"
        yield Example(f"{generator}/{('0_real', '1_fake')[label]}/{number:08d}.jpg", label, "suite", generator)


@settings(deadline=None, max_examples=60)
@given(EXAMPLES, EXAMPLES)
def test_columns_read_like_the_list_that_they_were_made_of(first, second):
    together = [*first, *second]
    places = list(range(len(together)))[::-2]
    sequences = [
        (Examples(together), together),
        (JoinedExamples([Examples(first), second]), together),
        (ChosenExamples(Examples(together), places), [together[place] for place in places]),
    ]
    for read, expected in sequences:
        for same in (read, pickle.loads(pickle.dumps(read))):
            assert same == expected and expected == same
            assert len(same) == len(expected) and list(same) == expected
            assert [same[np.int64(place)] for place in range(-len(expected), len(expected))] == expected * 2
            assert same[1:-1] == expected[1:-1] and same[::-1] == expected[::-1]
            for outside in (len(expected), -len(expected) - 1):
                with pytest.raises(IndexError):
                    same[outside]
    assert Examples(together) != [*together, Example("one more")]
    assert Examples([Example("a")]) != [Example("b")]


def test_going_through_all_gives_what_asking_for_each_gives(monkeypatch):
    monkeypatch.setattr(index, "AT_ONCE", 3)
    for count in (0, 1, 3, 4, 10):
        examples = Examples(many(count))
        assert list(examples) == [examples[place] for place in range(count)] == list(many(count))


def facts(count):
    for one in many(count):
        yield Facts(one.path, one.label, one.suite, one.generator, "", f"{int(one.path[-12:-4]):064x}", 1, 1, 1, "JPEG")


COUNT = 20_000
SOURCES = {
    "files": lambda: FileSource(Path(), many(COUNT)),
    "prepared data": lambda: RecordSource(range(COUNT), facts(COUNT), name=""),
    "joined": lambda: JoinedSource([FileSource(Path(), many(COUNT // 2)), FileSource(Path(), many(COUNT // 2))], name=""),
    "part": lambda: PartOfSource(FileSource(Path(), many(COUNT)), range(0, COUNT, 1)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_an_image_takes_its_path_and_at_most_40_bytes(name):
    tracemalloc.start()
    source = SOURCES[name]()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    paths = sum(len(example.path) for example in source.examples)
    assert (held - paths) / COUNT <= 40


class Numbers:
    """A source whose image, file and hash are the numbers of the example."""

    def __init__(self, start, count):
        self.name, self.examples = str(start), [Example(str(start + place)) for place in range(count)]
        self.image = self.encoded = self.content_hash = lambda place: int(self.examples[place].path)


def test_joined_and_chosen_images_are_those_of_their_examples():
    joined = JoinedSource([Numbers(0, 3), Numbers(3, 0), Numbers(3, 4)], name="joined")
    part = PartOfSource(joined, [6, 2, 3])
    for source, expected in ((joined, list(range(7))), (part, [6, 2, 3])):
        for ask in (source.image, source.encoded, source.content_hash):
            assert [ask(place) for place in range(len(expected))] == expected
        assert [int(example.path) for example in source.examples] == expected


def test_a_record_source_of_some_places_gives_their_hashes():
    source = RecordSource(range(6), facts(6), name="", places=[4, 1])
    expected = list(facts(6))
    assert [source.content_hash(place) for place in (0, 1)] == [expected[4].sha256, expected[1].sha256]
    assert list(source.examples) == [expected[4].example(), expected[1].example()]
    assert list(source.places) == [4, 1]


EARLIER = {
    "none": [40, 29, 2, 31, 5, 23, 21, 57, 4, 38, 43, 9],
    "class": [26, 53, 2, 70, 46, 57, 45, 69, 3, 65, 19, 64],
    "source": [44, 53, 40, 70, 37, 57, 37, 69, 40, 65, 15, 64],
    "format": [44, 67, 40, 65, 48, 67, 48, 64, 40, 61, 15, 60],
}


@pytest.mark.parametrize("balance", BALANCES)
def test_orders_are_those_of_earlier_runs(balance):
    """Positions that were written down before examples were kept in columns."""
    examples = [
        Example(f"{generator}/{number}.{suffix}", label, "set", generator)
        for label, generator, suffix, count in ((0, "camera", "jpg", 40), (0, "phone", "png", 9), (1, "gan", "png", 17))
        for number in range(count)
    ]
    examples += [Example(f"gan/{number}.jpeg", 1, "set", "gan") for number in range(5)]
    for sequence in (examples, Examples(examples)):
        order = training_order(sequence, balance, seed=11)
        assert [order(position, position % 3) for position in range(100, 112)] == EARLIER[balance]


IN_ANOTHER_PROCESS = """
import pickle, sys

source = pickle.loads(sys.stdin.buffer.read())
print(len(source.examples), source.examples[7].path, source.content_hash(7))
"""


def test_large_columns_are_a_file_that_other_processes_map_and_that_does_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "MAPPED_FROM", 1 << 12)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source, small = (RecordSource(range(count), facts(count), name="") for count in (1000, 10))
    assert len(list(tmp_path.iterdir())) == 2  # paths, and hashes
    assert list(source.examples) == list(many(1000)) and source.content_hash(999) == f"{999:064x}"
    pickled = pickle.dumps(source)
    assert len(pickled) < 5000 < len(pickle.dumps(list(source.examples)))
    ran = subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS], input=pickled, capture_output=True, check=True)
    assert ran.stdout.decode().split() == ["1000", source.examples[7].path, f"{7:064x}"]
    assert len(list(tmp_path.iterdir())) == 2
    del source
    gc.collect()
    assert not list(tmp_path.iterdir())
    assert pickle.loads(pickle.dumps(small)).examples == small.examples


def test_large_columns_stay_in_memory_where_no_file_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "MAPPED_FROM", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert list(Examples(many(10))) == list(many(10))
