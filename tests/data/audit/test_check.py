"""`lfm data check`: every fault planted in a data set is found and named, and nothing else is reported."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data import suites
from lfm_jax.data.audit.check import check_folder
from lfm_jax.data.audit.report import report_text
from lfm_jax.data.audit.tree import Place, read_tree
from lfm_jax.errors import DataError
from lfm_jax.evaluation import plots


def draw(path, seed, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng((seed, 1)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def make(tmp_path):
    """make("gan_a", "gan_b/car", images=2): different images in 0_real and 1_fake of each; returns the root."""

    def build(*groups, images=2, root="root"):
        for number, group in enumerate(groups):
            for label in (0, 1):
                for image in range(images):
                    draw(
                        tmp_path / root / group / ("0_real", "1_fake")[label] / f"{image}.png", 1000 * number + 100 * label + image
                    )
        return tmp_path / root

    return build


@pytest.fixture
def small_suite(monkeypatch):
    """GANGen-Detection as if published with 2 + 2 images per generator."""
    suite = suites.find("GANGen-Detection")
    suite = dataclasses.replace(suite, counts=dict.fromkeys(suite.generators, (2, 2)), faults=("once corrupt",))
    find = suites.find
    monkeypatch.setattr(suites, "find", lambda name: suite if find(name) and find(name).name == suite.name else find(name))
    return suite


def problems(report):
    return [(problem["kind"], problem["where"]) for problem in report["problems"]]


def only_problem(report, kind):
    assert [problem["kind"] for problem in report["problems"]] == [kind]
    return report["problems"][0]


def test_a_clean_tree_has_no_problem_and_every_image_is_counted(make):
    report = check_folder(make("gan_a", "gan_b/car", "gan_b/cat"))
    assert report["clean"] and not report["problems"] and not report["notes"] and not report["duplicates"]
    assert report["images"] == 12
    named = {"split": "", "suite": "root", "real": 2, "fake": 2, "expected": None}
    assert report["groups"] == [
        {**named, "generator": "gan_a", "class": ""},
        {**named, "generator": "gan_b", "class": "car"},
        {**named, "generator": "gan_b", "class": "cat"},
    ]


@pytest.mark.parametrize(
    ("folders", "places"),
    [
        (["."], [("", "root", "root", "")]),
        (["gan_a", "gan_b/car"], [("", "root", "gan_a", ""), ("", "root", "gan_b", "car")]),
        (["one/gan_a", "two/gan_b/car"], [("", "one", "gan_a", ""), ("", "two", "gan_b", "car")]),
        (["train/car", "test/gan_a"], [("train", "root", "car", ""), ("test", "root", "gan_a", "")]),
        (["one/train/car", "one/test/gan_a"], [("train", "one", "car", ""), ("test", "one", "gan_a", "")]),
        (["ForenSynths/train/car"], [("train", "ForenSynths", "car", "")]),
        (["ForenSynths/progan/car", "mine"], [("", "ForenSynths", "progan", "car"), ("", "root", "mine", "")]),
    ],
)
def test_splits_suites_generators_and_classes_are_told_apart(folders, places, make):
    assert set(read_tree(make(*folders, images=1)).images) == {Place(*place) for place in places}


@pytest.mark.parametrize("folders", [[], ["masks"]])
def test_a_folder_without_labels_is_an_error_that_says_what_was_looked_for(folders, tmp_path):
    for name in folders:
        draw(tmp_path / name / "1.png", 0)
    with pytest.raises(DataError, match="0_real and 1_fake"):
        check_folder(tmp_path)


def test_a_complete_suite_is_clean_and_its_known_faults_are_noted(make, small_suite):
    report = check_folder(make(*small_suite.generators, root="GANGen-Detection"))
    assert report["clean"]
    assert all(row["expected"] == [2, 2] for row in report["groups"])
    assert report["notes"] == [{"kind": "known fault", "where": "GANGen-Detection", "what": "once corrupt"}]


def test_a_wrong_count_is_named_with_the_published_one(make, small_suite):
    root = make(*small_suite.generators, root="GANGen-Detection")
    (root / "RelGAN/1_fake/1.png").unlink()
    problem = only_problem(check_folder(root), "wrong count")
    assert problem["where"] == "GANGen-Detection/RelGAN"
    assert problem["what"] == "2 real and 1 fake, expected 2 and 2"


def test_a_missing_generator_is_named_and_an_extra_one_is_noted(make, small_suite):
    root = make(*small_suite.generators[1:], "GANimation", root="GANGen-Detection")
    report = check_folder(root)
    assert small_suite.generators[0] in only_problem(report, "missing generator")["what"]
    assert ("not in the tables", "GANGen-Detection/GANimation") in [(note["kind"], note["where"]) for note in report["notes"]]


def test_missing_class_folders_are_named(make):
    suite = suites.find("ForenSynths")
    flat = [name for name in suite.generators if name != "progan"]
    root = make(*(f"{name}/car" if name in suite.with_classes else name for name in flat), "progan", images=1, root="ForenSynths")
    problem = only_problem(check_folder(root), "missing class")
    assert problem["where"] == "ForenSynths/progan"


def test_the_training_split_is_compared_as_a_whole(make):
    report = check_folder(make("train/car", "train/cat", "train/horse", images=1, root="ForenSynths"))
    assert problems(report) == [("missing class", "train/ForenSynths"), ("wrong count", "train/ForenSynths")]
    assert "chair" in report["problems"][0]["what"]
    assert report["problems"][1]["what"] == "3 real and 3 fake, expected 72012 and 72012"


def test_a_misspelt_suite_is_noted(make):
    (note,) = check_folder(make("AttGAN", root="GANGen-Detektion"))["notes"]
    assert note["kind"] == "unknown suite" and "GANGen-Detection" in note["what"]


@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_or_empty_label_folder_is_named(empty, make):
    root = make("gan_a", "gan_b")
    shutil.rmtree(root / "gan_b/1_fake")
    if empty:
        (root / "gan_b/1_fake").mkdir()
    problem = only_problem(check_folder(root), "missing label")
    assert problem["where"] == "root/gan_b" and "1_fake/" in problem["what"]


def test_files_that_cannot_be_read_are_named_with_the_reason(make):
    root = make("gan_a")
    (root / "gan_a/0_real/0.png").write_bytes(b"")
    whole = (root / "gan_a/1_fake/1.png").read_bytes()
    (root / "gan_a/1_fake/1.png").write_bytes(whole[: len(whole) // 2])
    report = check_folder(root)
    assert problems(report) == [("unreadable file", "gan_a/0_real/0.png"), ("unreadable file", "gan_a/1_fake/1.png")]
    assert "empty file" in report["problems"][0]["what"] and "truncated" in report["problems"][1]["what"]
    assert report["images"] == 4


def test_an_unreadable_folder_is_named_and_the_rest_is_checked(make, unreadable):
    root = make("gan_a", "gan_b")
    unreadable(root / "gan_a/0_real")
    report = check_folder(root)
    assert ("unreadable folder", "gan_a/0_real/") in problems(report)
    assert report["images"] == 6


def test_other_files_are_noted_but_are_not_a_problem(make):
    root = make("gan_a")
    (root / "gan_a/0_real/Thumbs.db").write_bytes(b"x")
    draw(root / "gan_a/overview.png", 5)
    report = check_folder(root)
    assert report["clean"]
    assert [(note["kind"], note["where"]) for note in report["notes"]] == [
        ("other file", "gan_a/0_real/Thumbs.db"),
        ("outside of the label folders", "gan_a/overview.png"),
    ]


def copy(root, source, target, *, suffix=""):
    """Copies a file; with a suffix, its pixels in another container."""
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    if suffix:
        Image.open(root / source).save(root / (target + suffix))
    else:
        shutil.copy(root / source, root / target)


@pytest.mark.parametrize(("suffix", "same"), [("", "bytes"), (".bmp", "pixels")])
@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        ("train/gan_a/0_real/again.png", ["repeated"]),
        ("train/gan_b/0_real/again.png", ["shared"]),
        ("train/gan_a/1_fake/again.png", ["real and fake"]),
        ("test/gan_c/0_real/again.png", ["leak"]),
        ("test/gan_c/1_fake/again.png", ["real and fake", "leak"]),
    ],
)
def test_a_second_copy_is_found_and_named_by_the_harm_it_does(target, kinds, suffix, same, make):
    root = make("train/gan_a", "train/gan_b", "test/gan_c")
    source = "train/gan_a/0_real/0.png"
    copy(root, source, target, suffix=suffix)
    report = check_folder(root)
    (group,) = report["duplicates"]
    assert group["kinds"] == kinds and group["same"] == same
    assert {entry["path"] for entry in group["files"]} == {source, target + suffix}
    assert len({entry["sha256"] for entry in group["files"]}) == (1 if same == "bytes" else 2)
    harmful = {"real and fake", "leak"} & set(kinds)
    assert {problem["kind"] for problem in report["problems"]} == harmful
    assert report["clean"] == (not harmful)
    for finding in report["problems"] if harmful else report["notes"]:
        assert {finding["where"], *finding["what"].removeprefix(f"same {same} as ").split(", ")} == {source, target + suffix}


def test_the_same_bytes_at_another_shape_are_no_duplicate(make):
    root = make("gan_a", images=1)
    for label, size in (("0_real", (4, 6)), ("1_fake", (6, 4))):
        Image.new("RGB", size).save(root / f"gan_a/{label}/flat.png")
    assert check_folder(root)["duplicates"] == []


@pytest.mark.parametrize("threads", [1, 5])
def test_the_report_does_not_depend_on_the_threads(threads, make):
    root = make("gan_a", "gan_b", images=6)
    copy(root, "gan_a/0_real/0.png", "gan_b/1_fake/x.png")
    assert check_folder(root, threads=threads) == check_folder(root, threads=3)


def test_more_files_than_are_in_flight_at_once_are_all_read(make, monkeypatch):
    monkeypatch.setattr("lfm_jax.data.audit.examination.AHEAD", 5)
    root = make("gan_a", images=8)
    copy(root, "gan_a/0_real/0.png", "gan_a/1_fake/x.png")
    report = check_folder(root)
    assert report["images"] == 17 and problems(report) == [("real and fake", "gan_a/0_real/0.png")]


def test_the_command_writes_what_it_prints_and_its_status_says_whether_to_look(make, lfm, tmp_path):
    root, out = make("gan_a", "gan_b", images=11), tmp_path / "out"
    clean = lfm("data", "check", root, f"--out={out}")
    assert clean.status == 0 and clean.err == ""
    draw(root / "gan_a/1_fake/other.png", 77)
    copy(root, "gan_a/0_real/0.png", "gan_a/1_fake/x.png")
    ran = lfm("data", "check", root, f"--out={out}", "--threads=2")
    assert ran.status == 3 and "1 problem" in ran.err
    report = json.loads((out / "check.json").read_text())
    assert report.pop("versions")["pillow"]
    assert report == json.loads(json.dumps(check_folder(root)))
    assert ran.out == report_text(report) + "\n" == (out / "check.md").read_text()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ran.out.splitlines() if line.startswith("|")]
    for row in report["groups"]:
        assert ["root", row["generator"], str(row["real"]), str(row["fake"]), "-"] in cells
    for row in report["format"]:
        figures = [f"{value:.3f}" for value in (row["chance"], row["luck"], *row["ap"].values())]
        counts = [str(row[label]["images"]) for label in ("real", "fake")]
        assert ["root", row["generator"] or "(all)", *counts, *figures] in cells
        assert row["verdict"] in ran.out
    assert "gan_a/1_fake/x.png" in ran.out
    assert Image.open(out / "format.png").width > 1000


def test_a_folder_with_nothing_readable_is_reported_and_drawn(lfm, tmp_path):
    for label in ("0_real", "1_fake"):
        (tmp_path / "root" / label).mkdir(parents=True)
        (tmp_path / "root" / label / "1.png").write_bytes(b"nothing")
    ran = lfm("data", "check", tmp_path / "root", f"--out={tmp_path / 'out'}")
    assert ran.status == 3 and "2 problems" in ran.err
    assert (tmp_path / "out/format.png").stat().st_size > 0


def test_with_very_many_groups_the_picture_leaves_out_the_classes(make, tmp_path, monkeypatch):
    rows = check_folder(make("gan_a", "progan/car", "progan/cat", "progan/cow", images=1))["format"]
    assert [(row["generator"], row["class"]) for row in rows][:3] == [("", ""), ("gan_a", ""), ("progan", "")]
    heights = []
    for limit in (len(rows), len(rows) - 1):
        monkeypatch.setattr(plots, "MAX_GROUPS", limit)
        plots.formats(rows, tmp_path / "format.png")
        heights.append(Image.open(tmp_path / "format.png").height)
    plots.formats(rows[:3], tmp_path / "format.png")
    assert heights[0] > heights[1] == Image.open(tmp_path / "format.png").height


def test_names_of_any_encoding_are_reported(make, lfm, tmp_path):
    root = make("gan_a", images=1)
    (root / "gan_a/0_real" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"nothing")
    (root / "gan_a/0_real/line\nbreak.png").write_bytes(b"nothing")
    ran = lfm("data", "check", root, f"--out={tmp_path / 'out'}")
    assert ran.status == 3
    assert "caf\\udce9.png: not an image" in ran.out and "line\\nbreak.png: not an image" in ran.out
    named = {problem["where"] for problem in json.loads((tmp_path / "out/check.json").read_text())["problems"]}
    assert named == {"gan_a/0_real/" + os.fsdecode(b"caf\xe9.png"), "gan_a/0_real/line\nbreak.png"}


@pytest.mark.parametrize("arguments", [["nowhere"], [], [".", "--thread=2"]])
def test_a_mistake_in_the_command_is_status_2(arguments, lfm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lfm("data", "check", *arguments).status == 2


def test_the_shared_images_are_clean_and_their_faces_jpeg_in_both_classes(shared):
    report = check_folder(shared / "data")
    assert report["clean"] and report["images"] == 390
    rows = {(row["split"], row["generator"]): row for row in report["format"]}
    for label in ("real", "fake"):
        assert rows["train", "face"][label]["containers"] == {"JPEG": 70}
        assert rows["train", "face"][label]["quality"] == {"75": 70}
    assert rows["train", "scene"]["ap"]["size"] > rows["train", "scene"]["luck"]
    assert rows["train", "face"]["ap"]["container"] == pytest.approx(0.5)
