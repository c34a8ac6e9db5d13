"""Listing image files: all of them, in order, whatever their names and however folders are linked."""

import inspect
import os
import sys

import pytest

from lfm_jax.data.images import IMAGE_SUFFIXES, ImageError, decode, list_images, walk


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(root):
    return [str(path.relative_to(root)) for path in list_images(root)]


def test_images_are_listed_from_all_depths_in_sorted_order(tmp_path):
    touch(tmp_path, "b/2.png", "b/10.png", "b/a/deep/er.jpg", "c.png", "a.png", "A/z.png", "d.PNG")
    assert listed(tmp_path) == ["a.png", "c.png", "d.PNG", "A/z.png", "b/10.png", "b/2.png", "b/a/deep/er.jpg"]


def test_images_are_told_by_suffix_in_either_case(tmp_path):
    named = [name for suffix in IMAGE_SUFFIXES for name in (f"lower{suffix}", f"upper{suffix.upper()}")] + ["mixed.Jpeg"]
    touch(tmp_path, *named, "notes.txt", "png", "Thumbs.db", "a.png.txt", "b.npy", "c.zip")
    assert listed(tmp_path) == sorted(named)


def test_any_name_is_listed(tmp_path):
    names = [
        "line\nbreak.png",
        "tab\t.png",
        " leading space.png",
        "\u00e9t\u00e9 \u56fe\u7247.png",
        "'quoted' \"twice\".png",
        "-dash.png",
    ]
    touch(tmp_path, *names)
    assert listed(tmp_path) == sorted(names)


def test_a_name_in_no_known_encoding_is_listed_and_read(tmp_path, noise):
    name = os.fsdecode(b"caf\xe9.png")
    noise(5, 7).save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(tmp_path / name)
    assert listed(tmp_path) == [name]
    assert decode(tmp_path / name).size == (7, 5)


def test_fifty_thousand_files_in_one_folder_are_all_listed(tmp_path):
    expected = [f"{number:05d}.png" for number in range(50_000)]
    for name in reversed(expected):
        os.close(os.open(tmp_path / name, os.O_CREAT))
    assert [path.name for path in list_images(tmp_path)] == expected


def test_folders_may_lie_deeper_than_python_can_recurse(tmp_path):
    depth, limit = 250, sys.getrecursionlimit()
    touch(tmp_path, "/".join(["d"] * depth) + "/deep.png")
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        assert [path.name for path in list_images(tmp_path)] == ["deep.png"]
    finally:
        sys.setrecursionlimit(limit)


def test_an_empty_folder_lists_nothing(tmp_path):
    assert listed(tmp_path) == []


def test_a_folder_named_like_an_image_is_searched_not_listed(tmp_path):
    touch(tmp_path, "folder.png/a.png")
    assert listed(tmp_path) == ["folder.png/a.png"]


@pytest.mark.parametrize(("link", "target"), [("a/b/up", ".."), ("a/b/here", "."), ("a/top", "..")])
def test_a_link_back_to_a_folder_above_is_not_followed(link, target, tmp_path):
    touch(tmp_path, "a/b/1.png", "a/2.png")
    (tmp_path / link).symlink_to(target)
    assert listed(tmp_path) == ["a/2.png", "a/b/1.png"]


def test_two_links_to_one_folder_are_both_listed(tmp_path):
    touch(tmp_path, "elsewhere/1.png")
    for name in ("root/gan_a", "root/gan_b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0_real").symlink_to(tmp_path / "elsewhere")
    assert listed(tmp_path / "root") == ["gan_a/0_real/1.png", "gan_b/0_real/1.png"]


def test_a_link_to_nowhere_is_listed_and_refused_when_decoded(tmp_path):
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    assert listed(tmp_path) == ["gone.png"]
    with pytest.raises(ImageError, match="No such file"):
        decode(tmp_path / "gone.png")


def test_a_link_to_itself_hides_no_other_image(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert [name for name in listed(tmp_path) if name != "loop.png"] == ["a.png", "b.png"]


def test_an_unreadable_folder_is_listed_in_place_of_its_files(tmp_path, unreadable):
    touch(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    unreadable(tmp_path / "b")
    assert listed(tmp_path) == ["a/1.png", "b", "c/3.png"]


def test_walk_gives_folders_and_files_and_says_what_is_unreadable(tmp_path, unreadable):
    touch(tmp_path, "b/2.png", "a/1.txt", "top.png")
    unreadable(tmp_path / "b")
    assert list(walk(tmp_path)) == [
        (tmp_path, ["a", "b"], ["top.png"]),
        (tmp_path / "a", [], ["1.txt"]),
        (tmp_path / "b", [], None),
    ]
