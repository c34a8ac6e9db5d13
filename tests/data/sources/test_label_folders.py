"""Label folders: misspelt ones are named, and no image counts under both labels or the wrong one."""

import pytest

from lfm_jax.data.audit.check import check_folder
from lfm_jax.data.sources.base import meant_label
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.errors import DataError


@pytest.fixture
def make(tmp_path, noise):
    def make(*folders):
        for number, folder in enumerate(folders):
            (tmp_path / folder).mkdir(parents=True)
            noise(8, 9, seed=number).save(tmp_path / folder / "1.png")
        return tmp_path

    return make


def test_a_link_out_of_a_label_folder_to_the_folder_above_counts_nothing_twice(make):
    root = make("gan/0_real", "gan/1_fake")
    (root / "gan/0_real/up").symlink_to("..")
    assert [(example.path, example.label) for example in open_folder(root).examples] == [
        ("gan/0_real/1.png", 0),
        ("gan/1_fake/1.png", 1),
    ]
    assert check_folder(root)["images"] == 2


@pytest.mark.parametrize("target", ["../1_fake", "../../gan_b"])
def test_fakes_reached_through_a_link_among_the_reals_are_refused(target, make):
    root = make("gan/0_real", "gan/1_fake", "gan_b/0_real", "gan_b/1_fake")
    (root / "gan/0_real/more").symlink_to(target)
    with pytest.raises(DataError, match=r"gan/0_real/more.* lies in a folder of the label opposite to 1_fake/"):
        open_folder(root)


def test_one_label_folder_within_the_other_is_a_problem(make):
    root = make("gan/0_real", "gan/1_fake", "gan/1_fake/0_real")
    with pytest.raises(DataError, match="gan/1_fake/0_real lies in a folder of the label opposite to 0_real/"):
        open_folder(root)
    assert ("both labels", "gan/1_fake/0_real/") in [
        (finding["kind"], finding["where"]) for finding in check_folder(root)["problems"]
    ]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("0_Real", "0_real"),
        ("0-real", "0_real"),
        ("0_reals", "0_real"),
        ("real", "0_real"),
        ("1 Fake", "1_fake"),
        ("fakes", "1_fake"),
    ],
)
def test_a_misspelt_label_is_suggested(name, label, make, capsys):
    other = {"0_real": "1_fake", "1_fake": "0_real"}[label]
    root = make(f"gan/{name}", f"gan/{other}")
    assert len(open_folder(root).examples) == 1
    assert f"gan/{name}/ is not read, did you mean {label}/?" in capsys.readouterr().err
    problems = check_folder(root)["problems"]
    assert {"kind": "misspelt label", "where": f"gan/{name}/", "what": f"not read, did you mean {label}/?"} in problems


def test_with_misspelt_labels_only_the_error_suggests_the_right_one(make):
    root = make("gan/0_Real", "gan/1_Fake")
    for read in (open_folder, check_folder):
        with pytest.raises(DataError, match=r"0_Real/.* did you mean 0_real/\?"):
            read(root)


@pytest.mark.parametrize("name", ["0_real", "1_fake", "cat", "progan", "masks", "train", "realm"])
def test_other_folders_are_not_taken_for_misspelt_labels(name):
    assert meant_label(name) is None


def test_what_is_not_read_is_said_once(make, capsys):
    root = make("gan/0_real", "gan/1_fake", "gan/1_fake/.ipynb_checkpoints")
    (root / "gan/0_real/IMG_1.MOV").write_bytes(b"\0\0\0\x14ftypqt  ")
    open_folder(root)
    assert capsys.readouterr().err == f"{root}: not read: 1 MOV, 1 hidden or tool folders\n"
    notes = check_folder(root)["notes"]
    assert ("gan/0_real/IMG_1.MOV", "not read: MOV") in [(note["where"], note["what"]) for note in notes]
