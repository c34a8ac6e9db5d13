"""Prepared data: the same batches as from the folder it was made from, whatever reads the records."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lfm_jax import config
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources import records
from lfm_jax.data.sources.joined import JoinedSource
from lfm_jax.data.sources.open import open_split, open_test_split, open_tests
from lfm_jax.data.sources.records import RecordSource
from lfm_jax.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def root(noise, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    seed = iter(range(1000))
    for split, groups in {"train": {"car": 9, "cat": 5}, "val": {"car": 2}, "test": {"gan_a": 2, "gan_b": 1}}.items():
        for group, count in groups.items():
            for label in ("0_real", "1_fake"):
                folder = root / split / group / label
                folder.mkdir(parents=True)
                for index in range(count):
                    suffix = ("png", "jpg", "webp")[index % 3]
                    noise(40 + index, 44, seed=next(seed)).save(folder / f"{index}.{suffix}")
    return root


@pytest.fixture(scope="module")
def out(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    prepare_folder(root, out)
    return out


def data_config(source, root, **fields):
    data = config.data()
    data.update({"source": source, "root": str(root), "resize": 0, "crop": 32, "threads": 4, "prefetch": 2, **fields})
    return data


def plain_tfds(out):
    """Opened as a user of TFDS would, without the index."""
    import tensorflow_datasets as tfds

    folder = records.find_one_prepared(out)
    return RecordSource(tfds.builder_from_directory(folder).as_data_source("train"), name="plain")


def named_tfds(out):
    import tensorflow_datasets as tfds

    import lfm_jax.data.prepare.tfds_builders  # noqa: F401  # registers the names

    return RecordSource(tfds.data_source("real_fake_folder", split="train", data_dir=str(out)), name="named")


READERS = {
    "tfds": lambda out: open_split(data_config("tfds", out), "train", seed=0),
    "builder_from_directory": plain_tfds,
    "data_source": named_tfds,
}


@pytest.mark.parametrize("shards", [1, 3, 8])
@pytest.mark.parametrize("reader", READERS)
def test_folder_and_records_give_the_same_batches_on_any_number_of_shards(reader, shards, root, out):
    data = data_config("folder", root)
    steps, batch_size = 7, 24  # 168 positions: six epochs of 28
    whole = list(TrainPipeline(open_split(data, "train", seed=0), data, seed=3).batches(0, steps, batch_size))
    source = READERS[reader](out)
    slices = [
        list(TrainPipeline(source, data, seed=3).batches(0, steps, batch_size, process=process, processes=shards))
        for process in range(shards)
    ]
    for step, expected in enumerate(whole):
        for name, values in expected.items():
            np.testing.assert_array_equal(np.concatenate([part[step][name] for part in slices]), values)
    seen = np.concatenate([batch["index"] for batch in whole]).reshape(6, 28)
    assert all(sorted(epoch) == list(range(28)) for epoch in seen)


@pytest.mark.parametrize("first", [1, 3, 6])
def test_records_resumed_at_any_step_give_the_batches_of_the_folder(first, root, out):
    folder, prepared = (data_config(source, where) for source, where in (("folder", root), ("tfds", out)))
    whole = list(TrainPipeline(open_split(folder, "train", seed=0), folder, seed=3).batches(0, 7, 8))
    resumed = list(TrainPipeline(open_split(prepared, "train", seed=0), prepared, seed=3).batches(first, 7, 8))
    assert len(resumed) == 7 - first
    for expected, batch in zip(whole[first:], resumed, strict=True):
        for name, values in expected.items():
            np.testing.assert_array_equal(batch[name], values)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_split_lists_and_decodes_as_its_folder(split, root, out):
    folder, prepared = (
        open_split(data_config(source, where), split, seed=0) for source, where in (("folder", root), ("tfds", out))
    )
    assert prepared.examples == folder.examples
    for index in range(len(folder.examples)):
        assert prepared.image(index).tobytes() == folder.image(index).tobytes()


def test_classes_choose_the_same_examples_as_in_the_folder(root, out):
    folder, prepared = (
        open_split(data_config(source, where, classes="cat"), "train", seed=0)
        for source, where in (("folder", root), ("tfds", out))
    )
    assert prepared.examples == folder.examples
    assert prepared.image(3).tobytes() == folder.image(3).tobytes()
    with pytest.raises(DataError, match=r"no class dog .*there are car, cat"):
        open_split(data_config("tfds", out, classes="dog"), "train", seed=0)


def test_opening_reads_no_record(out, monkeypatch):
    monkeypatch.setattr(records.TfdsRecords, "__getitem__", None)
    assert len(open_split(data_config("tfds", out), "train", seed=0).examples) == 28


def test_without_the_index_the_records_are_read_for_it(root, tmp_path):
    prepare_folder(root, tmp_path)
    expected = open_split(data_config("tfds", tmp_path), "train", seed=0).examples
    records.index_file(records.find_one_prepared(tmp_path), "train").unlink()
    assert open_split(data_config("tfds", tmp_path), "train", seed=0).examples == expected


def test_an_index_of_other_records_is_refused(root, tmp_path):
    prepare_folder(root, tmp_path)
    folder = records.find_one_prepared(tmp_path)
    records.write_index(folder, "train", records.read_index(folder, "train")[1:])
    with pytest.raises(DataError, match="lists 27 images, the records hold 28"):
        open_split(data_config("tfds", tmp_path), "train", seed=0)


def test_many_threads_read_the_same_images(root, out):
    source = open_split(data_config("tfds", out), "train", seed=0)
    expected = [source.image(index).tobytes() for index in range(28)]
    fresh = open_split(data_config("tfds", out), "train", seed=0)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda index: fresh.image(index % 28).tobytes(), range(280))) == expected * 10


def test_a_source_can_be_pickled_for_another_process(out):
    source = open_split(data_config("tfds", out), "train", seed=0)
    assert pickle.loads(pickle.dumps(source)).image(5).tobytes() == source.image(5).tobytes()


def test_a_data_set_is_chosen_by_name_and_a_wrong_name_lists_those_there_are(out):
    data = data_config("tfds", out, name="forensynths")
    with pytest.raises(DataError, match=r"config\.data\.name = 'forensynths'.* are real_fake_folder"):
        open_split(data, "train", seed=0)
    with pytest.raises(DataError, match="no prepared data"):
        open_split(data_config("tfds", out / "nowhere"), "train", seed=0)
    for name in ("", "real_fake_folder"):
        assert len(open_split(data_config("tfds", out, name=name), "val", seed=0).examples) == 4


def test_a_name_without_prepared_data_is_a_mistake():
    mistaken = config.base()
    mistaken.steps, mistaken.data.name = 1, "forensynths"
    with pytest.raises(ConfigError, match=r"config\.data\.name"):
        config.validate(mistaken)


def test_test_suites_may_be_prepared_and_elsewhere(root, out):
    data = data_config("folder", root, test_root=str(out))
    assert open_split(data, "test", seed=0).examples == open_tests(root / "test").examples
    assert open_test_split(data, seed=0).examples == open_tests(root / "test").examples
    assert open_test_split(data_config("tfds", out), seed=0).examples == open_tests(root / "test").examples


def test_data_without_a_test_split_is_recognised(root, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(root / "train")
    prepare_folder(tmp_path / "data", tmp_path / "out")
    assert open_test_split(data_config("tfds", tmp_path / "out"), seed=0) is None
    with pytest.raises(DataError, match="no test split"):
        open_tests(tmp_path / "out")


def test_joined_sources_follow_one_another(out):
    parts = [open_split(data_config("tfds", out), split, seed=0) for split in ("val", "test")]
    joined = JoinedSource(parts, name="both")
    assert len(joined.examples) == 10
    assert joined.image(4).tobytes() == parts[1].image(0).tobytes()


def test_file_names_of_any_encoding_survive(noise, tmp_path):
    folder = tmp_path / "data/gän a/0_real"
    folder.mkdir(parents=True)
    for name in ("é\n.png", "\udcff.png"):
        noise(40, 40).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(folder / name)
    prepare_folder(tmp_path / "data", tmp_path / "out")
    source = open_tests(tmp_path / "out")
    assert {example.path for example in source.examples} == {"gän a/0_real/é\n.png", "gän a/0_real/\udcff.png"}
    written = records.TfdsRecords(records.find_one_prepared(tmp_path / "out"), "test")
    assert [records.Facts.decode(written[index]).path for index in range(2)] == [example.path for example in source.examples]
