"""Listing image files: all of them, in order, whatever their names and however folders are linked."""

import hashlib
import inspect
import os
import sys
from pathlib import Path

import pytest

from lfm_jax.data.formats import IMAGE_SUFFIXES
from lfm_jax.data.images import ImageError, decode
from lfm_jax.data.listing import Passed, list_images, listing_hash, walk
from lfm_jax.data.sources.base import Example, listing_of
from lfm_jax.data.sources.folder import FileSource, open_files


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


@pytest.mark.parametrize("folder", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "$RECYCLE.BIN"])
def test_hidden_and_tool_folders_are_left_out_and_counted(folder, tmp_path):
    touch(tmp_path, "a/1.png", f"a/{folder}/2.png", f"{folder}/3.png", "a/._1.png", ".DS_Store")
    passed = Passed()
    assert [str(path.relative_to(tmp_path)) for path in list_images(tmp_path, passed)] == ["a/1.png"]
    assert passed == {"hidden or tool folders": 2, "hidden images": 1}


def test_a_hidden_folder_that_is_asked_for_is_read(tmp_path):
    touch(tmp_path, ".cache/1.png")
    assert [path.name for path in list_images(tmp_path / ".cache")] == ["1.png"]


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.jpg_large", "a.apng", "no_suffix", "a.avif", "a.txt.bak"])
@pytest.mark.parametrize("container", ["PNG", "JPEG", "WEBP", "GIF"])
def test_images_of_other_names_are_told_by_their_contents(name, container, tmp_path, noise):
    noise(5, 7).save(tmp_path / name, container)
    assert listed(tmp_path) == [name]
    assert decode(tmp_path / name).size == (7, 5)


OTHERS = {
    "a.jxl": (b"\xff\x0a", "JPEG XL"),
    "b.jp2": (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    "c.mp4": (b"\0\0\0\x20ftypisom", "MP4"),
    "d.mov": (b"\0\0\0\x14ftypqt  ", "MOV"),
    "e.pdf": (b"%PDF-1.7", "PDF"),
    "f.NEF": (b"MM\0*\0\0", "TIFF or camera raw"),
    "g.doc": (b"\xd0\xcf\x11\xe0", ".doc"),
    "h.txt": (b"a cat", ".txt"),
    "README": (b"", "no suffix"),
}


def test_what_is_no_image_is_counted_by_its_kind(tmp_path, capsys):
    for name, (content, _) in OTHERS.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    passed = Passed()
    assert list(list_images(tmp_path, passed)) == []
    assert passed == {kind: 1 for _, kind in OTHERS.values()} | {"no suffix": 2}
    open_files([tmp_path])
    assert f"{tmp_path}: not read: 2 no suffix, 1 " in capsys.readouterr().err


@pytest.mark.parametrize(("content", "kind"), OTHERS.values(), ids=OTHERS)
def test_the_kind_is_named_when_such_a_file_is_decoded(content, kind, tmp_path):
    (tmp_path / "photo.png").write_bytes(content)
    if kind[0].isupper() and "TIFF" not in kind:
        with pytest.raises(ImageError, match=rf"not an image file of a format read here \(.*\): {kind}"):
            decode(tmp_path / "photo.png")


@pytest.mark.parametrize(("link", "target"), [("a/b/up", ".."), ("a/b/here", "."), ("a/top", ".."), ("a/out", "../..")])
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


def test_the_hash_of_a_listing_is_the_one_that_checkpoints_hold_and_tells_order_and_labels():
    images = [Example("gan/0_real/a.png", 0), Example(os.fsdecode(b"gan/1_fake/\xe4.png"), 1)]
    assert listing_of(FileSource(Path(), images)) == listing_hash(["0 gan/0_real/a.png", "1 gan/1_fake/\udce4.png"])
    content = b"0 gan/0_real/a.png\n1 gan/1_fake/\xe4.png\n"
    assert listing_of(FileSource(Path(), images)) == hashlib.sha256(content).hexdigest()
    assert len({listing_hash(lines) for lines in (["a", "b"], ["b", "a"], ["a"], ["a b"], [])}) == 5
