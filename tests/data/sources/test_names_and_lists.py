"""Labelled images whose folders have other names, and images named in a list."""

import json
import shutil

import numpy as np
import pytest

from lfm_jax import config
from lfm_jax.data.sources import open_folder, open_list, open_split, open_tests, open_validation
from lfm_jax.data.sources.base import parse_labels
from lfm_jax.errors import ConfigError, DataError

NAMES = "real:nature,fake:ai"


@pytest.fixture
def renamed(labelled_folder, tmp_path):
    """`labelled_folder` with nature/ and ai/ in place of 0_real/ and 1_fake/."""
    root = tmp_path / "suite"
    shutil.copytree(labelled_folder, root)
    for old, new in (("0_real", "nature"), ("1_fake", "ai")):
        for folder in sorted(root.rglob(old)):
            folder.rename(folder.with_name(new))
    return root


def csv_file(folder, text, name="list.csv", **options):
    (folder / name).write_text(text, **options)
    return folder / name


def facts(source):
    return sorted((example.suite, example.generator, example.label) for example in source.examples)


def test_folders_of_other_names_are_the_same_images(renamed, labelled_folder):
    source = open_folder(renamed, labels=parse_labels(NAMES))
    assert facts(source) == facts(open_folder(labelled_folder))
    assert open_tests(renamed, labels=parse_labels(NAMES)).examples == source.examples
    assert {example.path.split("/")[-2] for example in source.examples} == {"nature", "ai"}


def test_a_label_may_have_several_names(renamed, noise):
    (renamed / "gan_a/sd").mkdir()
    noise(64, 64, seed=9).save(renamed / "gan_a/sd/0.png")
    fakes = [e for e in open_folder(renamed, labels=parse_labels(f"{NAMES},fake:sd")).examples if e.label]
    assert "gan_a/sd/0.png" in {example.path for example in fakes}


@pytest.mark.parametrize(
    "text", ["nature,ai", "real:nature", "real:a,fake:a", "real:,fake:ai", "true:a,fake:b", "real:a/b,fake:c", ","]
)
def test_names_that_cannot_be_meant_are_refused_with_an_example(text):
    with pytest.raises(DataError, match=r"--labels=.*real:nature,fake:ai"):
        parse_labels(text)


def test_without_the_names_the_message_tells_how_to_give_them(renamed):
    with pytest.raises(DataError, match=NAMES):
        open_folder(renamed)


def test_a_folder_of_the_other_label_inside_is_refused(renamed):
    (renamed / "gan_a/ai/nature").mkdir()
    shutil.copy(renamed / "gan_a/ai/0.png", renamed / "gan_a/ai/nature")
    with pytest.raises(DataError, match="opposite to nature/"):
        open_folder(renamed, labels=parse_labels(NAMES))


def test_evaluate_calibrate_and_data_check_take_the_names(lfm, weights_file, renamed, labelled_folder, tmp_path):
    ours = lfm("evaluate", "--weights", weights_file, "--data", renamed, "--labels", NAMES, "--protocol=native")
    theirs = lfm("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol=native")
    assert (ours.status, ours.out) == (0, theirs.out)
    ran = lfm("calibrate", "--weights", weights_file, "--data", renamed, "--labels", NAMES, "--out", tmp_path / "w.safetensors")
    assert ran.status == 0
    lfm("data", "check", renamed, "--labels", NAMES, "--out", tmp_path / "check")
    lfm("data", "check", labelled_folder, "--out", tmp_path / "plain")
    ours, theirs = (json.loads((tmp_path / name / "check.json").read_text()) for name in ("check", "plain"))
    assert (ours["groups"], ours["format"]) == (theirs["groups"], theirs["format"])
    shutil.rmtree(renamed / "gan_a/ai")
    assert "there is no ai/" in lfm("data", "check", renamed, "--labels", NAMES).out


def test_training_takes_the_names(renamed, tmp_path):
    (tmp_path / "data").mkdir()
    renamed.rename(tmp_path / "data/train")
    data = config.data()
    data.root, data.labels = str(tmp_path / "data"), NAMES
    assert {example.label for example in open_split(data, "train", seed=0).examples} == {0, 1}
    whole = config.base()
    whole.steps, whole.data.labels = 1, "nature"
    with pytest.raises(DataError, match=r"config\.data\.labels=nature"):
        config.validate(whole)
    whole.data.labels, whole.data.source = NAMES, "synthetic"
    with pytest.raises(ConfigError, match=r"config\.data\.labels"):
        config.validate(whole)


def test_built_in_images_have_no_folders_to_name():
    with pytest.raises(DataError, match="labelled already"):
        open_tests("builtin", labels=parse_labels(NAMES))


@pytest.fixture
def photos(noise, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        noise(64, 64, seed=number, strength=255 if number % 2 else 20).save(folder / f"{number}.png")
    return folder


def test_a_list_names_images_beside_it_and_elsewhere(photos, tmp_path):
    file = csv_file(tmp_path, f"path,label,group\nphotos/0.png,real,a\n{photos}/1.png,fake,a\nphotos/2.png,0,b\nphotos/3.png,1,b\n")
    source = open_list(file)
    assert [(e.label, e.suite, e.generator) for e in source.examples] == [
        (0, "list", "a"),
        (1, "list", "a"),
        (0, "list", "b"),
        (1, "list", "b"),
    ]
    assert all(np.asarray(source.image(index)).shape == (64, 64, 3) for index in range(4))
    assert open_tests(file).examples == open_validation(file).examples == source.examples
    assert [e.generator for e in open_list(file, classes=["b"]).examples] == ["b", "b"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_list_may_come_from_a_spreadsheet(mark, encoding, photos):
    rows = [["Label", "Path"], ["fake", "1.png"], ["real", "0.png"], ["", ""]]
    file = csv_file(photos, "\r\n".join(mark.join(row) for row in rows), encoding=encoding)
    assert [(e.path, e.label, e.generator) for e in open_list(file).examples] == [("1.png", 1, "list"), ("0.png", 0, "list")]


WRONG = {
    "no label column": ("path,class\na.png,real\n", "row 1: the columns are path, class; expected path,label"),
    "an unknown column": ("path,label,split\na.png,real,x\n", "row 1"),
    "empty": ("", "row 1: the columns are none"),
    "an unknown label": (
        "path,label\na.png,real\nb.png,synthetic\n",
        "row 3, column label: 'synthetic'; expected one of real, fake",
    ),
    "a short row": ("path,label\na.png,real\nb.png\n", "row 3: 1 columns, expected 2"),
    "an empty path": ("path,label\n,real\n", "row 2, column path: ''"),
    "a path twice": ("path,label\na.png,real\nb.png,fake\na.png,fake\n", "row 4, column path: 'a.png' is in row 2 already"),
    "no rows": ("path,label\n", "no row"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_list_is_refused_with_row_and_column(text, message, tmp_path, lfm, weights_file):
    ran = lfm("evaluate", "--weights", weights_file, "--list", csv_file(tmp_path, text))
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert message in ran.err
    assert "list.csv" in ran.err


def test_a_list_that_is_not_there_is_named(tmp_path, lfm, weights_file):
    ran = lfm("evaluate", "--weights", weights_file, "--list", tmp_path / "gone.csv")
    assert (ran.status, "gone.csv: the list cannot be read: No such file" in ran.err) == (2, True)


def test_labels_of_a_list_may_have_names_too(photos):
    file = csv_file(photos, "path,label\n0.png,nature\n1.png,ai\n")
    assert [e.label for e in open_list(file, labels=parse_labels(NAMES)).examples] == [0, 1]


def test_evaluate_takes_a_list_and_names_what_is_missing_in_it(photos, lfm, weights_file):
    file = csv_file(photos, "path,label,group\n0.png,real,a\n1.png,fake,a\ngone.png,fake,a\n2.png,real,b\n3.png,fake,b\n")
    ran = lfm("evaluate", "--weights", weights_file, "--list", file, "--protocol=native")
    assert ran.status == 3
    assert "gone.png: No such file" in ran.err
    assert "| list" in ran.out
    assert lfm("evaluate", "--weights", weights_file, "--list", file, "--data", photos).status == 2
    assert lfm("evaluate", "--weights", weights_file).status == 2


def test_training_reads_a_list_for_each_split(photos):
    for split, rows in (("train", "0.png,real\n1.png,fake\n"), ("val", "2.png,real\n3.png,fake\n")):
        csv_file(photos, f"path,label\n{rows}", f"{split}.csv")
    data = config.data()
    data.root, data.source = str(photos), "list"
    assert [e.path for e in open_split(data, "val", seed=0).examples] == ["2.png", "3.png"]
    with pytest.raises(DataError, match=r"looked for test\.csv"):
        open_split(data, "test", seed=0)
