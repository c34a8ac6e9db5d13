"""Folders in the layouts that users have on their disks, helpful messages about all others, and the splits of a run."""

import shutil

import numpy as np
import pytest

from lfm_jax import config
from lfm_jax.data.images import ImageError
from lfm_jax.data.sources.folder import open_files, open_folder
from lfm_jax.data.sources.open import open_split, open_test_split, open_tests
from lfm_jax.errors import DataError


@pytest.fixture
def make(tmp_path, noise):
    """make("gan_a/0_real", ...): folders below root/ with one image each -> root."""

    def build(*folders, root="root", names=("1.png",)):
        for folder in folders:
            (tmp_path / root / folder).mkdir(parents=True, exist_ok=True)
            for name in names:
                noise(4, 5).save(tmp_path / root / folder / name)
        return tmp_path / root

    return build


def both(*groups):
    return [f"{group}/{label}" for group in groups for label in ("0_real", "1_fake")]


def by_generator(source):
    """{(suite, generator): {(path, label)}}"""
    groups = {}
    for example in source.examples:
        groups.setdefault((example.suite, example.generator), set()).add((example.path, example.label))
    return groups


def test_generators_right_below_are_one_suite(make):
    source = open_folder(make(*both("gan_a", "gan_b")))
    assert by_generator(source) == {
        ("root", "gan_a"): {("gan_a/0_real/1.png", 0), ("gan_a/1_fake/1.png", 1)},
        ("root", "gan_b"): {("gan_b/0_real/1.png", 0), ("gan_b/1_fake/1.png", 1)},
    }


def test_classes_beside_plain_generators_belong_to_their_generator(make):
    """ForenSynths: progan/car/0_real, but biggan/0_real."""
    source = open_folder(make(*both("biggan", "progan/car", "progan/cat")))
    assert {name: len(examples) for name, examples in by_generator(source).items()} == {
        ("root", "biggan"): 2,
        ("root", "progan"): 4,
    }


def test_several_suites_with_and_without_classes(make):
    source = open_folder(make(*both("ForenSynths/biggan", "ForenSynths/progan/car", "ForenSynths/progan/cat", "GANGen/S3GAN")))
    assert {name: len(examples) for name, examples in by_generator(source).items()} == {
        ("ForenSynths", "biggan"): 2,
        ("ForenSynths", "progan"): 4,
        ("GANGen", "S3GAN"): 2,
    }


def test_the_folder_itself_may_hold_the_labels(make):
    assert by_generator(open_folder(make("0_real", "1_fake"))) == {("root", "root"): {("0_real/1.png", 0), ("1_fake/1.png", 1)}}


def test_the_current_folder_goes_by_its_name(make, monkeypatch):
    monkeypatch.chdir(make("0_real", "1_fake"))
    assert set(by_generator(open_folder("."))) == {("root", "root")}


@pytest.mark.parametrize("where", [".", "./", "..", "/"])
def test_paths_are_relative_to_the_folder_however_it_is_given(make, monkeypatch, where):
    """`/` stands for the folder written out in full, with a slash behind it."""
    root = make("gan_a/0_real", "gan_a/1_fake", "else/where")
    monkeypatch.chdir(root / "else" if where == ".." else root)
    paths = [example.path for example in open_folder(f"{root}/" if where == "/" else where).examples]
    assert paths == ["gan_a/0_real/1.png", "gan_a/1_fake/1.png"]


def test_a_home_folder_is_found(make, monkeypatch):
    monkeypatch.setenv("HOME", str(make(*both("gan_a")).parent))
    assert len(open_folder("~/root").examples) == 2


def test_images_are_found_at_any_depth_below_a_label_and_others_left(make, noise):
    root = make("gan_a/0_real", "gan_a/1_fake/part1", "gan_a/1_fake/part2", "gan_a/masks")
    noise(4, 5).save(root / "gan_a" / "overview.png")
    (root / "gan_a/0_real/README.txt").touch()
    assert [(example.path, example.label) for example in open_folder(root).examples] == [
        ("gan_a/0_real/1.png", 0),
        ("gan_a/1_fake/part1/1.png", 1),
        ("gan_a/1_fake/part2/1.png", 1),
    ]


def test_the_order_is_that_of_the_names(make):
    root = make(*both("b", "a"), names=("2.png", "10.png", "1.png"))
    in_label = ["1.png", "10.png", "2.png"]
    expected = [f"{group}/{label}/{name}" for group in "ab" for label in ("0_real", "1_fake") for name in in_label]
    assert [example.path for example in open_folder(root).examples] == expected


def test_a_generator_of_one_label_is_kept(make):
    assert len(open_folder(make(*both("gan_a"), "gan_b/1_fake")).examples) == 3


def test_shared_real_images_count_for_each_generator_that_links_to_them(make):
    root = make("reals/pool", "gan_a/1_fake", "gan_b/1_fake")
    for generator in ("gan_a", "gan_b"):
        (root / generator / "0_real").symlink_to(root / "reals/pool")
    assert {name: len(examples) for name, examples in by_generator(open_folder(root)).items()} == {
        ("root", "gan_a"): 2,
        ("root", "gan_b"): 2,
    }


def test_no_image_is_listed_twice(make):
    """An archive unpacked once too often: 0_real/0_real."""
    paths = [example.path for example in open_folder(make(*both("gan_a"), "gan_a/0_real/0_real")).examples]
    assert sorted(paths) == ["gan_a/0_real/0_real/1.png", "gan_a/0_real/1.png", "gan_a/1_fake/1.png"]


def test_each_image_is_the_one_its_path_names(make, noise):
    root = make(*both("gan_a"))
    noise(6, 7, seed=5).save(root / "gan_a/1_fake/0.png")
    source = open_folder(root)
    index = [example.path for example in source.examples].index("gan_a/1_fake/0.png")
    np.testing.assert_array_equal(np.asarray(source.image(index)), np.asarray(noise(6, 7, seed=5)))


def test_only_the_classes_asked_for_are_read(make):
    root = make(*both("car", "cat", "horse"))
    assert {generator for _, generator in by_generator(open_folder(root, classes=["car", "horse"]))} == {"car", "horse"}


def test_classes_are_found_below_their_generator(make):
    root = make(*both("progan/car", "progan/cat", "stylegan/car"))
    paths = [example.path for example in open_folder(root, classes=["car"]).examples]
    assert {path.rsplit("/", 2)[0] for path in paths} == {"progan/car", "stylegan/car"}


def test_an_unknown_class_is_named_with_those_there(make):
    with pytest.raises(DataError, match=r"dog.*car, cat"):
        open_folder(make(*both("car", "cat")), classes=["car", "dog"])


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        open_folder(tmp_path / "nowhere")


def test_a_file_is_not_a_folder(make):
    with pytest.raises(DataError, match=r"1\.png"):
        open_folder(make("a") / "a" / "1.png")


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"0_real/ and 1_fake/.*found nothing"):
        open_folder(tmp_path)


def test_other_folders_are_shown_beside_what_was_looked_for(make):
    with pytest.raises(DataError, match=r"0_real/ and 1_fake/.*found fake/, readme\.png, real/"):
        open_folder(make("real", "fake", ".", names=("readme.png",)))


def test_label_folders_without_images_are_told_apart_from_missing_ones(make):
    with pytest.raises(DataError, match=r"no image in them; found gan_a/"):
        open_folder(make(*both("gan_a"), names=()))


def test_many_entries_are_not_all_listed(make):
    with pytest.raises(DataError, match=r"c00/.*\.\.\.$") as refused:
        open_folder(make(*[f"c{index:02}" for index in range(40)]))
    assert "c39" not in str(refused.value)


@pytest.mark.parametrize("folder", ["gan_b/1_fake", "gan_b"])
def test_an_unreadable_folder_is_reported_one_way_or_another(folder, make, unreadable):
    root = make(*both("gan_a", "gan_b"))
    unreadable(root / folder)
    try:
        paths = [example.path for example in open_folder(root).examples]
    except DataError as error:
        assert folder in str(error)
    else:
        assert folder in paths


def test_files_keep_the_order_given_and_folders_are_searched(make):
    root = make("b/deep", "a")
    paths = [root / "b", root / "missing.png", root / "a/1.png"]
    source = open_files(paths)
    assert [example.path for example in source.examples] == [str(root / p) for p in ("b/deep/1.png", "missing.png", "a/1.png")]
    assert {example.label for example in source.examples} == {None}
    assert source.image(0).size == (5, 4)
    with pytest.raises(ImageError, match="No such file"):
        source.image(1)


def test_a_file_given_is_kept_whatever_its_suffix(make):
    root = make("a")
    shutil.copy(root / "a/1.png", root / "a/photo")
    assert open_files([str(root / "a/photo")]).image(0).size == (5, 4)


def test_a_relative_file_is_found(make, monkeypatch):
    monkeypatch.chdir(make("a"))
    assert open_files(["a/1.png"]).image(0).size == (5, 4)


def data_config(root, **fields):
    data = config.data()
    data.update(source="folder", root=str(root), **fields)
    return data


def test_splits_are_the_folders_below_the_root(make):
    data = data_config(make(*both("train/car", "train/cat", "val/car", "test/gan_a")))
    assert len(open_split(data, "train", seed=0).examples) == 4
    assert len(open_split(data, "val", seed=0).examples) == 2
    assert by_generator(open_test_split(data, seed=0)).keys() == {("test", "gan_a")}


def test_classes_choose_in_train_and_val_only(make):
    data = data_config(make(*both("train/car", "train/cat", "val/car", "val/cat", "test/gan_a")), classes="cat")
    for split, generators in {"train": {"cat"}, "val": {"cat"}, "test": {"gan_a"}}.items():
        assert {generator for _, generator in by_generator(open_split(data, split, seed=0))} == generators


def test_groups_held_out_are_validated_on_and_not_trained_on(make):
    data = data_config(make(*both("train/car", "train/cat", "train/dog", "val/car")), hold_out="cat, dog")
    train, val = (open_split(data, split, seed=0) for split in ("train", "val"))
    assert {example.path for example in train.examples} == {"car/0_real/1.png", "car/1_fake/1.png"}
    assert [example.generator for example in val.examples] == ["car"] * 2 + ["cat"] * 2 + ["dog"] * 2
    whole = open_split(data_config(data.root), "train", seed=0)
    by_path = {example.path: index for index, example in enumerate(whole.examples)}
    for index in range(2, 6):  # each goes with its own image and bytes
        place = by_path[val.examples[index].path]
        assert val.encoded(index) == whole.encoded(place)
        assert val.content_hash(index) == whole.content_hash(place)
        assert val.image(index).tobytes() == whole.image(place).tobytes()


def test_without_a_validation_split_the_groups_held_out_are_it(make):
    data = data_config(make(*both("train/car", "train/cat")), hold_out="cat")
    assert {example.generator for example in open_split(data, "val", seed=0).examples} == {"cat"}


def test_a_group_to_hold_out_that_is_not_there_is_named(make):
    data = data_config(make(*both("train/car", "train/cat", "val/car")), hold_out="cat,dgo")
    for split in ("train", "val"):
        with pytest.raises(DataError, match=r"config.data.hold_out = cat,dgo: no group dgo in train, only car, cat"):
            open_split(data, split, seed=0)


def test_holding_out_every_fake_leaves_nothing_to_train_on(make):
    data = data_config(make("train/photos/0_real", *both("train/cat")), hold_out="cat")
    with pytest.raises(DataError, match="images of one label only"):
        open_split(data, "train", seed=0)


def test_test_suites_may_be_elsewhere(make):
    root, elsewhere = make(*both("train/car", "val/car")), make(*both("S1/a", "S2/b"), root="suites")
    assert open_test_split(data_config(root), seed=0) is None
    data = data_config(root, test_root=str(elsewhere))
    assert by_generator(open_test_split(data, seed=0)).keys() == {("S1", "a"), ("S2", "b")}


def test_test_suites_elsewhere_are_used_whatever_the_source(make):
    data = config.data()
    data.source, data.test_root = "synthetic", str(make(*both("S1/a", "S2/b"), root="suites"))
    assert by_generator(open_split(data, "test", seed=0)).keys() == {("S1", "a"), ("S2", "b")}


def test_a_missing_split_names_the_field_and_what_is_there(make):
    data = data_config(make(*both("training/car", "val/car")))
    with pytest.raises(DataError, match=r"config\.data\.root = .*train/.*found training/, val/"):
        open_split(data, "train", seed=0)


@pytest.mark.parametrize("root", ["", "/no/such/folder"])
def test_a_missing_root_names_the_field(root):
    with pytest.raises(DataError, match=r"config\.data\.root"):
        open_split(data_config(root), "train", seed=0)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_one_label_cannot_be_trained_on(split, make):
    root = make(*both("train/car", "val/car"))
    shutil.rmtree(root / split / "car/0_real")
    with pytest.raises(DataError, match=rf"{split}.*one label only"):
        open_split(data_config(root), split, seed=0)


def test_synthetic_splits_have_the_size_and_side_asked_for_and_both_labels():
    data = config.data()
    data.source = "synthetic"
    data.synthetic.update(side=48, train=6, val=4, test=4)
    sources = {split: open_split(data, split, seed=0) for split in ("train", "val", "test")}
    assert {split: len(source.examples) for split, source in sources.items()} == {"train": 6, "val": 4, "test": 4}
    for source in sources.values():
        assert {example.label for example in source.examples} == {0, 1}
        assert source.image(1).size == (48, 48)
    again = open_split(data, "val", seed=0)
    np.testing.assert_array_equal(np.asarray(sources["val"].image(3)), np.asarray(again.image(3)))
    assert not np.array_equal(np.asarray(sources["val"].image(3)), np.asarray(open_split(data, "val", seed=1).image(3)))


def test_the_built_in_benchmark_is_the_test_split_of_a_config_that_changes_nothing():
    data = config.data()
    data.source = "synthetic"
    benchmark, split = open_tests("builtin"), open_split(data, "test", seed=0)
    assert benchmark.examples == split.examples
    assert len({example.generator for example in benchmark.examples}) == 8
    assert benchmark.content_hash(5) == split.content_hash(5)
