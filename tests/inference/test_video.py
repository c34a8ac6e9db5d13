"""`lfm predict clip.mp4 --every=1s`: a row for each frame, a summary of each file, and an error row for what is broken."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data.video import Video, interval
from lfm_jax.errors import UserError
from tests.helpers.without import run_without

av = pytest.importorskip("av")


def write_video(path, frames, *, rate=4, codec="ffv1", pixels="bgr0"):
    """Frames as RGB arrays -> a file that PyAV writes, without loss unless told otherwise."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def plain(level, side=64):
    return np.full((side, side, 3), level, np.uint8)


@pytest.fixture
def clip(tmp_path):
    """Three seconds at 4 frames a second, each frame of its own level."""
    return write_video(tmp_path / "clip.mkv", [plain(10 * number) for number in range(12)])


@pytest.mark.parametrize(
    ("every", "levels"), [(1.0, [0, 40, 80]), (0.5, [0, 20, 40, 60, 80, 100]), (0.6, [0, 30, 50, 80, 100]), (99, [0])]
)
def test_frames_are_those_at_the_asked_times(every, levels, clip):
    frames = list(Video(clip, every=every))
    assert [int(np.asarray(frame.image())[0, 0, 0]) for frame in frames] == levels
    assert [frame.seconds for frame in frames] == pytest.approx([level / 40 for level in levels], abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv"])
def test_the_usual_containers_are_read(suffix, tmp_path):
    path = write_video(tmp_path / f"clip{suffix}", [plain(100)] * 4, codec="mpeg4", pixels="yuv420p")
    assert len(list(Video(path, every=0.25))) == 4


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("0.5", 0.5), ("500ms", 0.5), ("2min", 120), ("10 s", 10)])
def test_times_are_read_with_their_unit(text, seconds):
    assert interval(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "1 hour", "s", "1e3", "nan", "99999999"])
def test_other_times_are_refused_with_what_was_expected(text):
    with pytest.raises(UserError, match=r"--every=.*such as 1s"):
        interval(text)


def test_every_frame_has_a_row_and_the_file_a_summary(lfm, weights_file, clip, noise, tmp_path):
    noise(64, 64).save(tmp_path / "photo.png")
    ran = lfm("predict", "--weights", weights_file, "--format=jsonl", "--every=1s", tmp_path)
    records = [json.loads(line) for line in ran.out.splitlines()]
    assert [os.path.relpath(record["path"], tmp_path) for record in records] == [
        "clip.mkv#t=0",
        "clip.mkv#t=1",
        "clip.mkv#t=2",
        "photo.png",
    ]
    assert all("score" in record and (record["width"], record["height"]) == (64, 64) for record in records)
    assert ran.status == 0
    assert "clip.mkv: 3 frames, " in ran.err


def test_a_frame_scores_as_the_same_picture_does(tiny_detector, lfm, weights_file, tmp_path, noise):
    pixels = np.asarray(noise(64, 64))
    write_video(tmp_path / "clip.mkv", [pixels])
    (line,) = lfm("predict", "--weights", weights_file, "--format=jsonl", "--every=1s", tmp_path / "clip.mkv").out.splitlines()
    assert json.loads(line)["logit"] == pytest.approx(tiny_detector(Image.fromarray(pixels)).logit, rel=1e-4)


def test_without_every_a_video_is_an_error_row_that_names_the_option(lfm, weights_file, clip):
    ran = lfm("predict", "--weights", weights_file, "--format=jsonl", clip)
    assert ran.status == 3
    assert "--every=1s" in json.loads(ran.out)["error"]


def broken_videos(whole):
    head = whole[:64]
    return {
        "cut.mkv": whole[: len(whole) // 2],
        "head.mkv": head,
        "noise.mkv": head + np.random.default_rng(0).bytes(5_000),
        "damaged.mkv": whole[:2_000] + bytes(500) + whole[2_500:],
        "lies.mp4": b"\0\0\0\x18ftypisom\0\0\0\0isomisom" + bytes(100),
        "lies.avi": b"RIFF\xff\xff\xff\xffAVI " + bytes(100),
    }


def test_broken_videos_are_error_rows_and_the_rest_is_scored(lfm, weights_file, tmp_path, noise):
    frames = [np.asarray(noise(64, 64, seed=seed)) for seed in range(12)]
    whole = write_video(tmp_path / "whole.mkv", frames).read_bytes()
    (tmp_path / "broken").mkdir()
    for name, content in broken_videos(whole).items():
        (tmp_path / "broken" / name).write_bytes(content)
    ran = lfm("predict", "--weights", weights_file, "--format=jsonl", "--every=250ms", tmp_path / "broken", tmp_path / "whole.mkv")
    records = [json.loads(line) for line in ran.out.splitlines()]
    failed = {os.path.basename(record["path"]) for record in records if "error" in record}  # noqa: PTH119
    assert {"head.mkv", "noise.mkv", "lies.mp4", "lies.avi"} <= failed
    assert all("\n" not in record.get("error", "") for record in records)
    assert sum("whole.mkv#t=" in record["path"] for record in records) == 12
    assert ran.status == 3


def test_a_playlist_that_names_other_files_is_not_opened(lfm, weights_file, tmp_path):
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.ts\n")
    ran = lfm("predict", "--weights", weights_file, "--format=jsonl", "--every=1s", tmp_path / "list.mp4")
    assert "not an image file" in json.loads(ran.out)["error"]


def test_large_frames_are_read_ahead_by_the_few(tmp_path):
    video = Video(write_video(tmp_path / "large.avi", [plain(1, side=2048)], codec="mpeg4", pixels="yuv420p"), every=1)
    assert video.frames_ahead(32) == 4
    assert video.frames_ahead(1) == 1


def test_without_its_library_the_extra_is_named(clip):
    code = """
from lfm_jax.data.video import Video
from lfm_jax.errors import UserError
try:
    Video(sys.argv[1], every=1)
except UserError as error:
    print(error)
"""
    assert "pip install 'lfm_jax[video]'" in run_without(["av"], code, clip)
