"""Views: what they do to an image, which images they change, and how they are named."""

import io

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data import transforms, views
from lfm_jax.data.images import ImageError
from lfm_jax.data.sources.base import Example
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.data.views import ViewedSource, parse
from lfm_jax.errors import UserError

REAL, FAKE = 0, 1


def seen(name, image, label=FAKE, path="a/1_fake/0.png"):
    return parse(name)(image, label, path=path)


def same(one, other):
    return one.size == other.size and np.array_equal(np.asarray(one), np.asarray(other))


def test_as_is_changes_nothing_and_goes_by_its_old_name_too(noise):
    image = noise(20, 30)
    assert seen("as_is", image) is image
    assert parse("native") == parse("as_is")
    assert parse("native").name == "as_is"


@pytest.mark.parametrize(("name", "changed"), [("all_q96", {REAL, FAKE, None}), ("fakes_q96", {FAKE}), ("reals_q96", {REAL})])
def test_the_first_word_says_which_images_change(name, changed, noise):
    image = noise(20, 30)
    assert {label for label in (REAL, FAKE, None) if not same(seen(name, image, label), image)} == changed


@pytest.mark.parametrize(("name", "format", "quality"), [("all_q75", "JPEG", 75), ("all_webp90", "WEBP", 90)])
def test_saving_again_is_done_by_pil(name, format, quality, noise):
    file = io.BytesIO()
    noise(40, 40).save(file, format, quality=quality)
    assert same(seen(name, noise(40, 40)), Image.open(file).convert("RGB"))


def test_a_step_is_the_augmentation_of_training(noise):
    image = noise(24, 30)
    assert same(seen("all_blur1.5", image), transforms.blur(image, 1.5))
    assert same(seen("all_scale0.5", image), transforms.scale(image, 0.5))


def test_scales_keep_the_aspect(noise):
    assert seen("all_scale0.5", noise(40, 60)).size == noise(20, 30).size
    assert seen("all_scale2", noise(40, 60)).size == noise(80, 120).size
    assert min(seen("all_low112", noise(300, 200)).size) == 112
    small = noise(80, 100)
    assert seen("all_low112", small) is small


def test_noise_has_its_strength_and_depends_on_the_path_alone():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    first = np.asarray(seen("all_noise5", grey), float)
    assert first.std() == pytest.approx(5, rel=0.02)
    assert first.mean() == pytest.approx(128, abs=0.1)
    assert same(seen("all_noise5", grey), seen("all_noise5", grey, REAL))
    assert not same(seen("all_noise5", grey), seen("all_noise5", grey, path="b.png"))


def test_steps_go_from_left_to_right(noise):
    image = noise(40, 40)
    assert same(seen("all_q50+blur2", image), seen("all_blur2", seen("all_q50", image)))
    assert not same(seen("all_q50+blur2", image), seen("all_blur2+q50", image))


def test_all_views_of_the_grid_are_views():
    for name in (*views.FORMAT_VIEWS, *(name for curve in views.GRID.values() for name in curve), *views.EXAMPLES.split(", ")):
        assert parse(name).name == name


@pytest.mark.parametrize("name", ["", "q96", "all_", "all_q0", "all_q101", "all_q9.5", "fake_q96", "all_blur0", "all_q+", "all_x3"])
def test_any_other_name_is_refused_with_the_choices(name):
    with pytest.raises(UserError, match=r"unknown view .*all_, fakes_ or reals_"):
        parse(name)


def test_an_image_too_large_for_a_format_is_an_error_of_that_image():
    with pytest.raises(ImageError, match="view all_q90"):
        seen("all_q90", Image.new("RGB", (70_000, 1)))


def test_a_source_under_a_view_has_the_same_examples_and_its_own_content(labelled_folder):
    source = open_folder(labelled_folder)
    as_is, saved = (ViewedSource(source, parse(name)) for name in ("as_is", "fakes_q96"))
    assert list(saved.examples) == list(source.examples)
    for index, example in enumerate(source.examples):
        assert isinstance(example, Example)
        assert same(as_is.image(index), source.image(index))
        assert same(saved.image(index), source.image(index)) == (example.label == REAL)
    assert as_is.content_hash(0) != saved.content_hash(0)
