"""Lossless photographs made from JPEGs by a simulated camera."""

import numpy as np
import pytest
from PIL import Image

from lfm_jax.cli import main
from lfm_jax.data.images import ImageError, decode
from lfm_jax.data.prepare.camera import LEAST_SIDE, SCALE, camera_path, render, rendered
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.runtime.rng import Stream, host_rng

pytest.importorskip("colour_demosaicing", reason="the extra camera")

WIDTH, HEIGHT = 400, 320


def flat(level=128):
    return Image.new("RGB", (WIDTH, HEIGHT), (level,) * 3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two photographs as JPEG, one that is too small, one as PNG, and a fake as JPEG."""
    root = tmp_path_factory.mktemp("corpus") / "train"
    files = {"phone/0_real/a.jpg": 1, "phone/0_real/b.jpeg": 1, "phone/0_real/small.jpg": 2, "phone/0_real/c.png": 1}
    for name, smaller in (files | {"phone/1_fake/d.jpg": 1}).items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_mandelbrot((WIDTH // smaller, HEIGHT // smaller), (-2, -1.5, 1, 1.5), 40).convert("RGB").save(file)
    return root


def test_every_jpeg_photograph_is_rendered_smaller_and_lossless(corpus, tmp_path):
    states = {result.path: result.state for result in render(open_folder(corpus), tmp_path, seed=0)}
    assert states.pop("phone/0_real/small.jpg") == "200 x 160 px: below 160 px once its JPEG traces are scaled away"
    assert states == {"phone/0_real/a.jpg": "made", "phone/0_real/b.jpeg": "made"}
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == sorted(map(camera_path, states))
    for path in states:
        with Image.open(tmp_path / camera_path(path)) as picture:
            assert (picture.format, picture.mode) == ("PNG", "RGB")
            assert LEAST_SIDE <= min(picture.size) <= SCALE[1] * HEIGHT
            assert picture.width / picture.height == pytest.approx(WIDTH / HEIGHT, abs=0.01)


def test_a_second_run_makes_only_what_is_missing_and_the_same(corpus, tmp_path, capsys):
    command = ["data", "camera", str(corpus), str(tmp_path)]
    assert main(command) == 3  # one is too small
    assert "2 made, 0 there already, 1 photographs without a render" in capsys.readouterr().err
    missing = tmp_path / camera_path("phone/0_real/b.jpeg")
    content = missing.read_bytes()
    missing.unlink()
    assert main(command) == 3
    assert "1 made, 1 there already" in capsys.readouterr().err
    assert missing.read_bytes() == content


def test_renders_may_lie_beside_their_photographs(corpus, tmp_path):
    files = len(list(render(open_folder(corpus), tmp_path, seed=0)))
    (tmp_path / "phone").symlink_to(corpus / "phone")
    source = open_folder(tmp_path)
    assert {example.path.split("/")[0] for example in source.examples} == {"phone", "phone-camera"}
    assert len(list(render(source, tmp_path, seed=0))) == files


@pytest.mark.parametrize("split", ["val", "test"])
def test_only_a_training_split_is_rendered(split, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["data", "camera", str(tmp_path / split), str(tmp_path / "out")])
    assert ended.value.code == 2
    assert f"{split}: photographs are made to train on" in capsys.readouterr().err


def test_too_small_a_photograph_says_so():
    with pytest.raises(ImageError, match="200 x 160 px"):
        rendered(flat().resize((200, 160)), host_rng(0, Stream.CAMERA, 0))


def test_the_noise_is_a_sensors_and_lies_on_its_pattern():
    """Green is measured at every other pixel, as on a chessboard, and interpolated, which averages the noise, at the others.

    From what no more than rounding is left to what nobody would print.
    """
    shares, noises = [], []
    for draw in range(24):
        green = np.asarray(rendered(flat(), host_rng(0, Stream.CAMERA, draw)), float)[..., 1]
        black = np.add.outer(*map(np.arange, green.shape)) % 2 == 0
        noises.append(green.std())
        if noises[-1] > 1:  # level; below, it is rounding that differs
            one, other = sorted((green[black].var(), green[~black].var()))
            shares.append(one / other)
    assert np.median(shares) < 0.9
    assert min(noises) < 0.5 < 5 < max(noises)
    assert len(shares) > 8


def test_colours_are_kept():
    for draw in range(8):
        picture = np.asarray(rendered(flat(90), host_rng(1, Stream.CAMERA, draw)), float)
        np.testing.assert_allclose(picture.mean((0, 1)), 90, atol=2)


def test_a_picture_is_a_function_of_the_draws_alone(corpus):
    photograph = decode(corpus / "phone/0_real/a.jpg")
    first, same, other = (np.asarray(rendered(photograph, host_rng(0, Stream.CAMERA, draw))) for draw in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert first.shape != other.shape or (first != other).any()
